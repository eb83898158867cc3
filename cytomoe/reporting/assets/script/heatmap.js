/* Medians of the markers in the clusters, with their tree. */
let heatmapMode = "scaled";
const heatmapHints = {
  scaled: "0: 1st percentile of all cells; 1: upper limit of the scaling (99.9th percentile of the fit).",
  transformed: "Medians after the transform, as in clusters.csv; one colour scale for all markers.",
  raw: "Medians in the units of the files, after compensation; coloured by the transformed values.",
};
function drawHeatmap() {
  const { order, tree } = data.heatmap;
  const rows = order.length, columns = data.markers.length;
  const wide = byId("heatmap").clientWidth;
  const phone = wide < 560;
  const named = (k) => `${data.clusters[k].number} ${cut(data.clusters[k].title, phone ? 18 : 34)}`;
  const longest = Math.max(...order.map((k) => echarts.format.getTextRect(`● ${named(k)}`, `12px ${FONT}`).width));
  const left = { tree: phone ? 0 : 70, names: phone ? Math.min(longest + 14, 165) : longest + 24, bars: phone ? 74 : 112 };
  const cell = Math.max(phone ? 20 : 24, Math.floor((wide - left.tree - left.names - left.bars - 12) / columns));
  const width = left.tree + left.names + columns * Math.min(cell, 90) + left.bars + 10;
  const rowHeight = 21, top = 84, height = rows * rowHeight;
  const coloured = data.heatmap[heatmapMode === "scaled" ? "scaled" : "transformed"];
  const flat = coloured.flat().filter((value) => value !== null);
  const values = order.flatMap((k, row) => data.markers.map((_, marker) => ({
    value: [marker, row, coloured[k][marker] ?? "-"], k,
  })));
  const inner = { top, height };
  const written = heatmapMode !== "scaled" && Math.min(cell, 90) >= 40;
  const heat = { left: left.tree + left.names, width: columns * Math.min(cell, 90) };
  const rich = Object.fromEntries(data.clusters.map((c, k) => [`c${k}`, { color: c.colour, fontSize: 14 }]));
  byId("chart-heatmap").style.width = `${Math.max(width, Math.min(wide, width))}px`;
  draw("heatmap", "svg", top + height + 12, {
    grid: [{ left: heat.left, width: heat.width, ...inner }, { left: 6, width: Math.max(left.tree - 12, 0), ...inner }, { left: heat.left + heat.width + 8, width: left.bars - 52, ...inner }],
    xAxis: [
      { type: "category", data: data.markers, position: "top", axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, rotate: 50, color: INK, fontSize: 12, formatter: (name) => cut(name, 12) } },
      { type: "value", gridIndex: 1, show: false, inverse: true, min: 0, max: Math.max(...tree.flat().map((p) => p[1]), 1e-6) },
      { type: "value", gridIndex: 2, show: false, min: 0, max: Math.max(...data.clusters.map((c) => c.fraction)) },
    ],
    yAxis: [
      { type: "category", data: order.map(String), inverse: true, axisLine: { show: false }, axisTick: { show: false },
        axisLabel: { interval: 0, color: INK, fontSize: 12, rich, formatter: (k) => `{c${k}|●} ${named(k)}` } },
      { type: "value", gridIndex: 1, show: false, inverse: true, min: -0.5, max: rows - 0.5 },
      { type: "category", gridIndex: 2, data: order.map(String), inverse: true, show: false },
    ],
    visualMap: { show: false, min: Math.min(...flat, 0), max: Math.max(...flat, 0.01), seriesIndex: 0, inRange: { color: data.palettes.sequential } },
    tooltip: tooltip((p) => {
      if (p.seriesType === "bar") return `${esc(clusterName(order[p.dataIndex]))}<br>${data.clusters[order[p.dataIndex]].events.toLocaleString("en")} events`;
      const k = p.data.k, marker = p.value[0];
      const value = (mode) => short(data.heatmap[mode][k][marker]);
      return `<b>${esc(data.markers[marker])}</b> in ${data.what} ${esc(clusterName(k))}<br>scaled ${value("scaled")}<br>transformed ${value("transformed")}<br>raw ${value("raw")}`;
    }),
    series: [
      { type: "heatmap", data: values, itemStyle: { borderColor: "#fff", borderWidth: 1 }, emphasis: { itemStyle: { borderColor: INK } },
        label: { show: written, fontSize: 10.5, formatter: (p) => short(data.heatmap[heatmapMode][p.data.k][p.value[0]]) } },
      ...(phone ? [] : tree.map((joint) => ({ type: "line", xAxisIndex: 1, yAxisIndex: 1, silent: true, showSymbol: false, lineStyle: { color: "#8a95a3", width: 1 }, data: joint.map(([position, at]) => [at, position]) }))),
      { type: "bar", xAxisIndex: 2, yAxisIndex: 2, barWidth: 11, data: order.map((k) => ({ value: data.clusters[k].fraction, itemStyle: { color: data.clusters[k].colour } })),
        label: { show: true, position: "right", color: SOFT, fontSize: 11, formatter: (p) => percent(p.value) } },
    ],
  });
  byId("heatmap-hint").textContent = heatmapHints[heatmapMode];
}
