/* The map of the cells and its legend. */
const points = data.map;
for (const name of ["x", "y", "cluster", "confidence", "sample", "gate", "values"]) {
  if (points[name]) points[name] = unpack(points[name]);
}
const mapState = { mode: "cluster", marker: 0, chosen: new Set() };

/* Groups of the present colouring: name, colour, member test; null for a continuous one. */
function mapGroups() {
  if (mapState.mode === "cluster") {
    return data.clusters.map((c, k) => ({
      key: k, number: c.number, name: c.title, colour: c.colour, share: c.fraction, of: (i) => points.cluster[i] === c.number,
    })).filter((g) => g.share > 0);
  }
  if (mapState.mode === "sample") {
    const total = data.abundance.events.reduce((sum, n) => sum + n, 0);
    return points.samples.map((name, k) => ({
      key: k, name, colour: categoryColour(k), of: (i) => points.sample[i] === k,
      share: data.abundance.events[data.abundance.samples.indexOf(name)] / total,
    }));
  }
  if (mapState.mode === "gate") {
    const none = { key: -1, name: "no gate", colour: MUTED, of: (i) => points.gate[i] < 0 };
    return [none, ...points.gates.map((name, k) => ({ key: k, name, colour: categoryColour(k), of: (i) => points.gate[i] === k }))];
  }
  return null;
}
function mapExtent() {
  const bounds = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    return [(low + high) / 2, (high - low) / 2 || 1];
  };
  const box = byId("chart-map");
  const [cx, rx] = bounds(points.x), [cy, ry] = bounds(points.y);
  const unit = 1.06 * Math.max((2 * rx) / box.clientWidth, (2 * ry) / box.clientHeight);
  const half = [(unit * box.clientWidth) / 2, (unit * box.clientHeight) / 2];
  return { x: [cx - half[0], cx + half[0]], y: [cy - half[1], cy + half[1]] };
}
/* Where a cluster's number is written: its drawn cell nearest to the medians of its coordinates. */
function clusterLabels() {
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  return data.clusters.filter((c) => c.events >= data.tiny).flatMap((c) => {
    const members = [...points.cluster.keys()].filter((i) => points.cluster[i] === c.number);
    if (!members.length) return [];
    const [mx, my] = [middle(members.map((i) => points.x[i])), middle(members.map((i) => points.y[i]))];
    const distance = (i) => (points.x[i] - mx) ** 2 + (points.y[i] - my) ** 2;
    const at = members.reduce((best, i) => (distance(i) < distance(best) ? i : best));
    const far = members.map((i) => Math.sqrt(distance(i))).sort((a, b) => a - b);
    return [{ value: [points.x[at], points.y[at]], name: String(c.number), spread: far[Math.floor(0.9 * far.length)] }];
  });
}
const labels = clusterLabels();

function describeCell(i) {
  const cluster = data.clusters[points.cluster[i] - 1];
  const lines = [`<b>${data.what} ${cluster.number}</b> ${esc(cluster.title)}`, `confidence ${(points.confidence[i] / 255).toFixed(2)}`];
  if (points.samples.length > 1) lines.push(`sample ${esc(points.samples[points.sample[i]])}`);
  if (points.gates) lines.push(points.gate[i] < 0 ? "no gate" : `gate ${esc(points.gates[points.gate[i]])}`);
  if (mapState.mode === "marker") {
    const value = points.low[mapState.marker] + (markerValues()[i] / 255) * points.width[mapState.marker];
    lines.push(`${esc(data.markers[mapState.marker])} ${value.toFixed(2)} (transformed)`);
  }
  return lines.join("<br>");
}
const markerValues = () => points.values.subarray(mapState.marker * points.drawn, (mapState.marker + 1) * points.drawn);

function drawMap() {
  const extent = mapExtent();
  const size = points.drawn > 3000 ? 3.4 : points.drawn > 500 ? 5 : 7;
  const groups = mapGroups();
  const scatter = (extra) => ({ type: "scatter", symbolSize: size, ...extra });
  const series = [], all = [...points.x.keys()];
  let visualMap;
  if (groups) {
    const shown = (group) => mapState.chosen.size === 0 || mapState.chosen.has(group.key);
    for (const group of [...groups.filter((g) => !shown(g)), ...groups.filter(shown)]) {
      series.push(scatter({
        data: all.filter(group.of).map((i) => [points.x[i], points.y[i], i]), silent: !shown(group),
        itemStyle: { color: shown(group) ? group.colour : MUTED, opacity: shown(group) ? 0.85 : 0.5 },
      }));
    }
  } else {
    const values = mapState.mode === "confidence" ? points.confidence : markerValues();
    all.sort((a, b) => mapState.mode === "confidence" ? values[b] - values[a] : values[a] - values[b]);
    series.push(scatter({ data: all.map((i) => [points.x[i], points.y[i], i, values[i]]), itemStyle: { opacity: 0.9 } }));
    const colours = data.palettes[mapState.mode === "confidence" ? "confidence" : "sequential"];
    visualMap = { show: false, dimension: 3, min: 0, max: 255, seriesIndex: 0, inRange: { color: colours } };
  }
  const pixels = byId("chart-map").clientWidth / (extent.x[1] - extent.x[0]);
  series.push(scatter({
    // Above a clump that the number would cover, or below it at the upper edge.
    data: labels.map((label) => (label.spread * pixels >= 12 ? label
      : { ...label, label: { offset: [0, (extent.y[1] - label.value[1]) * pixels < 24 ? 13 : -13] } })), symbolSize: 1, silent: true, itemStyle: { color: "transparent", opacity: 1 }, z: 10,
    label: { show: true, formatter: "{b}", color: INK, fontSize: 13, fontWeight: 700, textBorderColor: "#fff", textBorderWidth: 4 },
  }));
  const zoom = (axis) => ({ type: "inside", [axis]: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false });
  draw("map", "canvas", 0, {
    grid: { left: 0, right: 0, top: 0, bottom: 0 },
    xAxis: { type: "value", min: extent.x[0], max: extent.x[1], show: false },
    yAxis: { type: "value", min: extent.y[0], max: extent.y[1], show: false },
    dataZoom: matchMedia("(pointer: fine)").matches ? [zoom("xAxisIndex"), zoom("yAxisIndex")] : [],
    tooltip: tooltip((p) => describeCell(p.value[2])),
    visualMap, series,
  });
  drawLegend(groups);
}
function drawLegend(groups) {
  const legend = byId("map-legend");
  const scrolled = legend.scrollTop;
  legend.replaceChildren();
  if (!groups) {
    const confidence = mapState.mode === "confidence";
    const colours = data.palettes[confidence ? "confidence" : "sequential"];
    const low = points.low[mapState.marker], high = low + points.width[mapState.marker];
    const bar = element("div", { className: "scale" });
    bar.style.background = `linear-gradient(90deg, ${colours.join(",")})`;
    legend.append(
      element("p", { textContent: confidence ? "Probability of the cell's cluster" : `${data.markers[mapState.marker]}, transformed` }), bar,
      element("div", { className: "ends" }, element("span", { textContent: confidence ? "0" : low.toFixed(1) }), element("span", { textContent: confidence ? "1" : high.toFixed(1) })),
    );
    return;
  }
  for (const group of groups) {
    const chip = element("span", { className: "chip" });
    chip.style.background = group.colour;
    const button = element("button", { type: "button", title: group.name }, chip);
    button.setAttribute("aria-pressed", String(mapState.chosen.has(group.key)));
    if (group.number) button.append(element("span", { textContent: group.number }));
    else button.className = "plain";
    button.append(element("span", { textContent: group.name }), element("span", { className: "share", textContent: group.share === undefined ? "" : percent(group.share) }));
    button.addEventListener("click", () => {
      if (!mapState.chosen.delete(group.key)) mapState.chosen.add(group.key);
      drawMap();
    });
    legend.append(button);
  }
  legend.scrollTop = scrolled;
}
function startMap() {
  const select = byId("map-marker");
  const press = segments("map-mode", (mode) => {
    Object.assign(mapState, { mode, chosen: new Set() });
    select.value = "";
    drawMap();
  });
  select.addEventListener("change", () => {
    if (select.value === "") return;
    Object.assign(mapState, { mode: "marker", marker: Number(select.value), chosen: new Set() });
    press("marker");
    drawMap();
  });
  chart("map", "canvas").getZr().on("dblclick", () => charts.map.dispatchAction({ type: "dataZoom", batch: [{ dataZoomIndex: 0, start: 0, end: 100 }, { dataZoomIndex: 1, start: 0, end: 100 }] }));
  drawMap();
}
