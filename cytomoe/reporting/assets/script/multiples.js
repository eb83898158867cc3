/* Small multiples: panels side by side in one chart; each has a title, a sub-title and series on its own axes. */
function panelRoom(name, count, { least = 178, widest = 230 }) {
  const wide = byId(`chart-${name}`).clientWidth, gap = 22;
  const columns = Math.max(2, Math.min(count, Math.floor(wide / (wide < 560 ? 150 : least))));
  return { columns, gap, across: Math.min(widest, (wide - gap * (columns - 1) - 6) / columns) };
}
/* Titles are cut to a line each, or with `whole` wrapped; `more` is what the chart has beside its panels. */
function drawPanels(name, panels, { height = 96, axes, whole, more, ...room }) {
  const { columns, gap, across } = panelRoom(name, panels.length, room);
  const titles = panels.map((panel) => (whole ? wrapped(panel.title, across, `600 12.5px ${FONT}`) : [cut(panel.title, 26)]));
  const tops = [5]; // of the rows, which are as high as their longest title
  const taller = (row) => 16 * (Math.max(...titles.slice(row * columns, (row + 1) * columns).map((lines) => lines.length)) - 1);
  for (let row = 0; row * columns < panels.length; row += 1) tops.push(tops[row] + height + 64 + taller(row));
  const place = (i) => ({ left: 3 + (i % columns) * (across + gap), top: tops[Math.floor(i / columns)] });
  const below = (i) => taller(Math.floor(i / columns)) + (panels[i].under ? 36 : 21);
  const titled = (i) => ({ left: place(i).left, top: place(i).top + taller(Math.floor(i / columns)) - 16 * (titles[i].length - 1) });
  draw(name, "svg", tops.at(-1) - 5, {
    title: panels.map((panel, i) => ({
      text: titles[i].join("\n"), subtext: panel.under ? cut(panel.under, 34) : "", ...titled(i), padding: 0, itemGap: 1,
      textStyle: { fontSize: 12.5, lineHeight: 16, fontWeight: 600, color: INK }, subtextStyle: { fontSize: 10.5, lineHeight: 14, color: SOFT },
    })),
    grid: panels.map((panel, i) => ({ left: place(i).left + (axes ? 30 : 0), top: place(i).top + below(i), width: across - (axes ? 34 : 0), height: height - (panel.under ? 15 : 0) })),
    xAxis: panels.map((panel, i) => numberAxis({ gridIndex: i, splitNumber: 3, ...panel.x })),
    yAxis: panels.map((panel, i) => numberAxis({ gridIndex: i, show: Boolean(axes), splitNumber: 2, ...panel.y })),
    series: panels.flatMap((panel, i) => panel.series.map((s) => ({ type: "line", showSymbol: false, silent: true, xAxisIndex: i, yAxisIndex: i, ...s }))),
    ...more,
  });
}
