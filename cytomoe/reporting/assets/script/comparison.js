/* Changes of all populations, and the share of every sample. */
const { populations, groups, samples } = data;
const several = groups.length > 2;
const SHAPES = ["circle", "diamond", "triangle", "rect", "pin", "roundRect"];
const MORE = "#24629a", LESS = "#a8460b", FAINT = "#8a94a1";
const FIRST = 12; // panels that stand open, and all those of populations that differ
const pWord = (p) => (p < 1e-4 ? p.toExponential(1) : String(Number(p.toPrecision(2))));
const asFold = (log2) => `${short(2 ** Math.abs(log2))}-fold ${log2 > 0 ? "more" : "less"}`;
const times = (log2) => (log2 ? `${log2 < 0 ? "÷" : "×"}${(2 ** Math.abs(log2)).toLocaleString("en")}` : "1");
const asShare = (value) => `${Number(value.toPrecision(3))} %`;

function stateOf(row) {
  if (row.p_adjusted === null) return "too rare";
  return `${pWord(row.p_adjusted)}${row.moved_by ? "  moved" : row.differs ? "  differs" : ""}`;
}
function about(row) {
  const absent = (g) => row.absent.includes(groups[g].name);
  const change = (g) => (g === 0 || absent(0) || absent(g) ? "" : `, ${asFold(row.log2[g - 1])}`);
  const shares = groups.map((group, g) => `${esc(group.name)}: ${absent(g) ? "absent" : asShare(row.percent[g]) + change(g)}`);
  const p = row.p_adjusted === null ? "too rare to test" : `adjusted p ${pWord(row.p_adjusted)}`;
  return [`<b>${esc(row.population)}</b>`, ...shares, p, ...(row.moved_by ? [`moved by ${esc(row.moved_by)}`] : [])].join("<br>");
}
let effectsOrder = "p";
function inOrder() {
  if (effectsOrder === "p") return populations;
  const largest = (row) => row.log2.reduce((most, change) => (Math.abs(change) > Math.abs(most) ? change : most), 0);
  return [...populations].sort((a, b) => largest(b) - largest(a));
}
/* How a change is drawn: filled where it differs, in a frame where others moved it, hollow and grey otherwise. */
function markOf(row, g) {
  const colour = several ? groups[g + 1].colour : row.log2[g] > 0 ? MORE : LESS;
  if (!row.sure[g]) return { color: "#fff", borderColor: several ? colour : FAINT, borderWidth: 1.5 };
  return row.moved_by ? { color: "#fff", borderColor: colour, borderWidth: 3 } : { color: colour, borderColor: colour, borderWidth: 1.5 };
}
function drawEffects() {
  const rows = inOrder(), wide = byId("effects").clientWidth, phone = wide < 560;
  const font = `12px ${FONT}`, after = phone ? 96 : 124;
  const widest = Math.max(...rows.map((row) => echarts.format.getTextRect(row.population, font).width));
  const names = Math.min(widest + 4, phone ? 120 : wide < 800 ? 200 : 320);
  const labels = rows.map((row) => wrapped(row.population, names, font));
  const rowHeight = Math.max(23, 15 * Math.max(...labels.map((lines) => lines.length)) + 7), top = several ? 58 : 30;
  const changes = rows.flatMap((row) => row.log2), low = Math.min(...changes, -0.8) - 0.2, high = Math.max(...changes, 0.8) + 0.2;
  const step = Math.ceil((high - low) / (phone ? 4 : 8));
  const ink = (_, i) => (rows[i].differs ? INK : SOFT);
  const side = { type: "category", inverse: true, axisLine: { show: false }, axisTick: { show: false } };
  const over = `${several ? "" : `${cutMiddle(groups[1].name, 24)} `}over ${cutMiddle(groups[0].name, 24)}`;
  draw("effects", "svg", top + rows.length * rowHeight + 50, {
    title: { text: several ? "any difference: adjusted p" : "adjusted p", right: 4, top: top - 22, padding: 0, textStyle: { fontSize: 11.5, fontWeight: 400, color: SOFT } },
    legend: { show: several, type: "scroll", left: 0, top: 0, itemWidth: 12, itemHeight: 12, itemGap: 18, textStyle: { color: INK } },
    grid: { left: names + 12, right: after, top, height: rows.length * rowHeight },
    xAxis: numberAxis({ min: step * Math.floor(low / step), max: step * Math.ceil(high / step), interval: step, name: over, nameLocation: "middle", nameGap: 26, nameTextStyle: { color: SOFT, fontSize: 12 }, splitLine: { show: true, lineStyle: { color: "#eef1f4" } }, axisLabel: { color: SOFT, fontSize: 11, formatter: times } }),
    yAxis: [
      { ...side, data: rows.map((_, i) => String(i)), splitLine: { show: true, interval: 0, lineStyle: { color: "#f2f4f6" } }, axisLabel: { interval: 0, fontSize: 12, lineHeight: 15, color: ink, formatter: (_, i) => labels[i].join("\n") } },
      { ...side, position: "right", data: rows.map((_, i) => String(i)), axisLabel: { interval: 0, fontSize: 12, color: ink, formatter: (_, i) => stateOf(rows[i]) } },
    ],
    tooltip: tooltip((p) => about(rows[p.value[1]])),
    series: groups.slice(1).map((group, g) => ({
      type: "scatter", name: group.name, symbol: several ? SHAPES[g % SHAPES.length] : "circle", symbolSize: 11, color: group.colour, cursor: "default",
      data: rows.map((row, i) => ({ value: [row.log2[g], i], itemStyle: markOf(row, g) })),
      markLine: g ? undefined : { symbol: "none", silent: true, label: { show: false }, lineStyle: { color: SOFT, type: "solid", width: 1 }, data: [{ xAxis: 0 }] },
    })),
  });
}

const sizes = groups.map((_, g) => data.condition.filter((condition) => condition === g).length);
/* Where each sample stands beside the others of its condition. */
const places = samples.map((_, s) => {
  const g = data.condition[s], before = data.condition.slice(0, s).filter((condition) => condition === g).length;
  const reach = Math.min(0.3, 0.04 * sizes[g]);
  return g + (sizes[g] > 1 ? reach * ((2 * before) / (sizes[g] - 1) - 1) : 0);
});
/* Samples of one value of the column that pairs them, in the order of the conditions; gaps between. */
function linked(values) {
  const blocks = new Map();
  (data.paired || []).forEach((block, s) => blocks.set(block, [...(blocks.get(block) || []), s]));
  return [...blocks.values()].flatMap((block) => [...block.sort((a, b) => data.condition[a] - data.condition[b]).map((s) => [places[s], values[s]]), ["-", "-"]]);
}
let allShares = false;
const shown = () => (allShares ? populations : populations.slice(0, Math.max(FIRST, populations.filter((row) => row.differs).length)));
function drawShares() {
  const rows = shown(), called = groups.map((group) => group.name);
  const widest = Math.max(...called.map((name) => echarts.format.getTextRect(name, `11px ${FONT}`).width)) + 10;
  const room = { least: Math.min(300, Math.max(178, 40 + groups.length * Math.min(widest, 90))), widest: 320 };
  const slot = (panelRoom("shares", rows.length, room).across - 34) / groups.length, letters = Math.floor(slot / 7.4);
  const names = slot >= widest ? called : letters < 6 ? called.map(() => "") : shortNames(called, letters);
  const panels = rows.map((row) => {
    const values = row.counts.map((count, s) => (100 * count) / data.events[s]);
    return {
      title: row.population, under: row.p_adjusted === null ? "too rare to test" : `adjusted p ${stateOf(row)}`,
      x: { min: -0.5, max: groups.length - 0.5, interval: 0.5, axisLabel: { color: SOFT, fontSize: 11, formatter: (v) => (Number.isInteger(v) ? names[v] : "") } },
      y: { min: 0, axisLine: { show: false }, splitLine: { show: true, lineStyle: { color: "#eef1f4" } }, axisLabel: { color: SOFT, fontSize: 11, formatter: (v) => Number(v.toPrecision(3)) } },
      series: [
        { data: linked(values), lineStyle: { color: "#aab3bd", width: 1 } },
        { data: groups.flatMap((_, g) => [[g - 0.36, row.percent[g]], [g + 0.36, row.percent[g]], ["-", "-"]]), lineStyle: { color: INK, width: 2 } },
        ...groups.map((group, g) => ({
          type: "scatter", silent: false, symbolSize: 8, cursor: "default", itemStyle: { color: group.colour, borderColor: "#fff", borderWidth: 1 },
          data: samples.flatMap((_, s) => (data.condition[s] === g ? [{ value: [places[s], values[s]], sample: s, row }] : [])),
        })),
      ],
    };
  });
  drawPanels("shares", panels, { height: 132, axes: true, whole: true, ...room, more: { tooltip: tooltip((p) => aboutSample(p.data.row, p.data.sample)) } });
}
function aboutSample(row, s) {
  const within = Object.entries(data.within).map(([column, values]) => `${esc(column)} ${esc(values[s])}`);
  const counted = `${row.counts[s].toLocaleString("en")} of ${data.events[s].toLocaleString("en")} events`;
  return [`<b>${esc(samples[s])}</b>`, esc(row.population), [esc(groups[data.condition[s]].name), ...within].join(", "), `${asShare((100 * row.counts[s]) / data.events[s])}, ${counted}`].join("<br>");
}

if (byId("effects-order")) segments("effects-order", (mode) => { effectsOrder = mode; drawEffects(); });
const more = byId("shares-all");
more.hidden = shown().length === populations.length;
more.addEventListener("click", () => { allShares = true; more.hidden = true; drawShares(); });
startButtons();
markSection();
drawEffects();
drawShares();
keepDrawn([drawEffects, drawShares]);
