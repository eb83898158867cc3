/* Figures of the report. Data stands in the page as JSON; nothing is loaded. Names come from strangers' files and reach
   the page only as text: through textContent, or through esc() where ECharts takes HTML. */
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const esc = echarts.format.encodeHTML;
  const INK = "#17212d", SOFT = "#566273", LINE = "#e1e5ea", MUTED = "#dfe3e8";
  const FONT = getComputedStyle(document.body).fontFamily;
  const kinds = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, float32: Float32Array };
  const charts = {};

  /* ------------------------------------------------------------------ helpers */
  function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.base64), (character) => character.charCodeAt(0));
    return new kinds[packed.dtype](bytes.buffer);
  }
  const percent = (share) => {
    return share === 0 ? "0 %" : 100 * share >= 0.05 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %";
  };
  const short = (value) => (value === null ? "no cells" : Number(value.toPrecision(3)).toLocaleString("en"));
  const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  /* Long names of samples and gates differ at their ends more often than in their middle. */
  const cutMiddle = (text, length) => (text.length > length ? `${text.slice(0, Math.ceil(length / 2) - 1)}…${text.slice(-Math.floor(length / 2))}` : text);
  const clusterName = (k) => `${data.clusters[k].number}  ${data.clusters[k].title}`;
  const categoryColour = (i) => data.spare[i % data.spare.length];

  function chart(name, renderer) {
    if (!charts[name]) {
      charts[name] = echarts.init(byId(`chart-${name}`), null, { renderer });
    }
    return charts[name];
  }
  function draw(name, renderer, height, option) {
    const element = byId(`chart-${name}`);
    if (height) element.style.height = `${height}px`;
    const figure = chart(name, renderer);
    figure.resize();
    figure.setOption({ animation: false, textStyle: { fontFamily: FONT, color: INK }, ...option }, true);
  }
  const tooltip = (formatter) => ({
    trigger: "item", confine: true, formatter, borderColor: LINE, textStyle: { color: INK, fontSize: 12.5, fontFamily: FONT },
  });
  const numberAxis = (extra) => ({
    type: "value", axisLine: { show: true, lineStyle: { color: "#b4bcc6" } }, axisTick: { show: false },
    splitLine: { show: false }, axisLabel: { color: SOFT, fontSize: 11, hideOverlap: true }, ...extra,
  });
  /* Buttons of which one is pressed; calls back with its data-mode. */
  function segments(id, change) {
    const buttons = [...byId(id).querySelectorAll("button")];
    const press = (mode) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.mode === mode)));
    buttons.forEach((b) => b.addEventListener("click", () => { press(b.dataset.mode); change(b.dataset.mode); }));
    return press;
  }
  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /* ------------------------------------------------------------------ map */
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
      return [{ value: [points.x[at], points.y[at]], name: String(c.number) }];
    });
  }
  const labels = clusterLabels();

  function describeCell(i) {
    const cluster = data.clusters[points.cluster[i] - 1];
    const lines = [`<b>Cluster ${cluster.number}</b> ${esc(cluster.title)}`, `confidence ${(points.confidence[i] / 255).toFixed(2)}`];
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
    series.push(scatter({
      data: labels, symbolSize: 1, silent: true, itemStyle: { color: "transparent", opacity: 1 }, z: 10,
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

  /* ------------------------------------------------------------------ heatmap of medians */
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
    const named = (k) => `${data.clusters[k].number} ${cut(data.clusters[k].title, phone ? 10 : 34)}`;
    const longest = Math.max(...order.map((k) => echarts.format.getTextRect(`● ${named(k)}`, `12px ${FONT}`).width));
    const left = { tree: phone ? 0 : 70, names: phone ? 105 : longest + 24, bars: phone ? 74 : 112 };
    const cell = Math.max(phone ? 20 : 24, Math.floor((wide - left.tree - left.names - left.bars - 4) / columns));
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
        if (p.seriesType === "bar") return `${esc(clusterName(order[p.dataIndex]))}<br>${data.clusters[order[p.dataIndex]].events.toLocaleString("en")} cells`;
        const k = p.data.k, marker = p.value[0];
        const value = (mode) => short(data.heatmap[mode][k][marker]);
        return `<b>${esc(data.markers[marker])}</b> in cluster ${esc(clusterName(k))}<br>scaled ${value("scaled")}<br>transformed ${value("transformed")}<br>raw ${value("raw")}`;
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

  /* ------------------------------------------------------------------ small multiples */
  /* Panels side by side in one chart; each has a title, a sub-title and series on its own axes. */
  function drawPanels(name, panels, { height = 96, widest = 230, axes }) {
    const wide = byId(`chart-${name}`).clientWidth;
    const columns = Math.max(2, Math.min(panels.length, Math.floor(wide / (wide < 560 ? 150 : 178))));
    const gap = 22, across = Math.min(widest, (wide - gap * (columns - 1) - 6) / columns), down = height + 64;
    const place = (i) => ({ left: 3 + (i % columns) * (across + gap), top: 5 + Math.floor(i / columns) * down });
    const lines = (panel) => (panel.under ? 2 : 1);
    draw(name, "svg", Math.ceil(panels.length / columns) * down, {
      title: panels.map((panel, i) => ({
        text: cut(panel.title, 26), subtext: panel.under ? cut(panel.under, 34) : "", ...place(i), padding: 0, itemGap: 1,
        textStyle: { fontSize: 12.5, lineHeight: 16, fontWeight: 600, color: INK }, subtextStyle: { fontSize: 10.5, lineHeight: 14, color: SOFT },
      })),
      grid: panels.map((panel, i) => ({ left: place(i).left + (axes ? 30 : 0), top: place(i).top + (lines(panel) === 2 ? 36 : 21), width: across - (axes ? 34 : 0), height: height - (lines(panel) === 2 ? 15 : 0) })),
      xAxis: panels.map((panel, i) => numberAxis({ gridIndex: i, splitNumber: 3, ...panel.x })),
      yAxis: panels.map((panel, i) => numberAxis({ gridIndex: i, show: Boolean(axes), splitNumber: 2, ...panel.y })),
      series: panels.flatMap((panel, i) => panel.series.map((s) => ({ type: "line", showSymbol: false, silent: true, xAxisIndex: i, yAxisIndex: i, ...s }))),
    });
  }
  const bins = data.histograms;
  const shares = unpack(bins.shares);
  const nBins = bins.shares.shape[2];
  const shareOf = (k, marker, bin) => shares[(k * data.markers.length + marker) * nBins + bin] / 65535;
  /* Heights at the middles of the bins of a marker, the highest being 1. */
  function curve(marker, heights) {
    const width = (bins.high[marker] - bins.low[marker]) / nBins;
    const top = Math.max(...heights) || 1;
    return heights.map((height, bin) => [bins.low[marker] + (bin + 0.5) * width, height / top]);
  }
  const made = data.generated && unpack(data.generated.shares);
  let histogramMode = "rest";
  function drawHistograms() {
    const k = Number(byId("histogram-cluster").value);
    const colour = data.clusters[k].colour;
    const total = data.clusters.reduce((sum, c) => sum + c.events, 0);
    const weights = data.clusters.map((c, j) => (j === k ? 0 : c.events / Math.max(total - data.clusters[k].events, 1)));
    const panels = data.markers.map((marker, m) => {
      const own = Array.from({ length: nBins }, (_, bin) => shareOf(k, m, bin));
      const rest = histogramMode === "generated"
        ? Array.from(made.subarray((k * data.markers.length + m) * nBins, (k * data.markers.length + m + 1) * nBins))
        : own.map((_, bin) => weights.reduce((sum, w, j) => sum + (w && w * shareOf(j, m, bin)), 0));
      return {
        title: marker, x: { min: bins.low[m], max: bins.high[m], axisLabel: { formatter: (v) => (Number.isInteger(v) ? v : ""), color: SOFT, fontSize: 11 } }, y: { min: 0, max: 1.05 },
        series: [
          { data: curve(m, rest), lineStyle: { width: 0 }, areaStyle: { color: "#c3cad2", opacity: 0.8 } },
          { data: curve(m, own), lineStyle: { color: colour, width: 1.8 }, areaStyle: { color: colour, opacity: 0.32 } },
        ],
      };
    });
    drawPanels("histograms", panels, {});
  }
  function startHistograms() {
    const select = byId("histogram-cluster");
    const step = (by) => {
      select.selectedIndex = (select.selectedIndex + by + select.options.length) % select.options.length;
      drawHistograms();
    };
    select.addEventListener("change", drawHistograms);
    if (made) segments("histogram-mode", (mode) => { histogramMode = mode; drawHistograms(); });
    byId("histogram-back").addEventListener("click", () => step(-1));
    byId("histogram-next").addEventListener("click", () => step(1));
    drawHistograms();
  }
  function drawTransforms() {
    const panels = data.transforms.map((t, m) => ({
      title: t.marker, under: t.transform, y: { min: 0, max: 1.05 },
      x: { min: bins.low[m], max: bins.high[m], axisLabel: { formatter: (v) => (Number.isInteger(v) ? v : ""), color: SOFT, fontSize: 11 } },
      series: [{
        data: curve(m, t.counts.map(Math.sqrt)), lineStyle: { color: "#24629a", width: 1.4 }, areaStyle: { color: "#84b3d0", opacity: 0.45 },
        markLine: { symbol: "none", silent: true, label: { show: false }, lineStyle: { color: SOFT, type: "dashed", width: 1 }, data: [{ xAxis: t.low }, { xAxis: t.high }] },
      }],
    }));
    drawPanels("transforms", panels, {});
  }
  function drawTraining() {
    const names = [...new Set(data.training.flatMap(Object.keys))].filter((name) => name !== "step" && name !== "clusters");
    const first = data.training.find((record) => "similarity" in record);
    const warm = first && "partition" in data.training[0] ? first.step : 0;
    const last = data.training.at(-1).step;
    const words = { partition: "Partition loss", reconstruction: "Reconstruction loss", similarity: "Similarity loss", kl: "KL loss", depict: "DEPICT loss", clusters: "Clusters in a batch" };
    const panels = [...names, "clusters"].map((name) => ({
      title: words[name] || name, x: { min: 0, max: last, name: "" }, y: { min: 0 },
      series: [{
        data: data.training.filter((r) => name in r).map((r) => [r.step, r[name]]), lineStyle: { color: "#24629a", width: 1.8 },
        markArea: warm ? { silent: true, itemStyle: { color: "#f0f3f6" }, data: [[{ xAxis: 0 }, { xAxis: warm }]] } : undefined,
      }],
    }));
    drawPanels("training", panels, { height: 130, widest: 330, axes: true });
  }

  /* ------------------------------------------------------------------ samples, gates */
  function drawAbundance() {
    const { samples, events, counts } = data.abundance;
    const names = byId("samples").clientWidth < 560 ? 96 : 210;
    const rowHeight = samples.length > 40 ? 14 : 26;
    draw("abundance", "svg", samples.length * rowHeight + 34, {
      grid: { left: names, right: 16, top: 4, bottom: 28 },
      xAxis: numberAxis({ min: 0, max: 1, axisLabel: { color: SOFT, fontSize: 11, formatter: (v) => `${Math.round(100 * v)} %` } }),
      yAxis: { type: "category", data: samples, inverse: true, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: INK, fontSize: 12, interval: 0, formatter: (name) => cutMiddle(name, Math.floor((names - 12) / 7)) } },
      tooltip: tooltip((p) => `<b>${esc(samples[p.dataIndex])}</b><br>cluster ${esc(clusterName(p.seriesIndex))}<br>${counts[p.dataIndex][p.seriesIndex].toLocaleString("en")} cells, ${percent(p.value)}`),
      series: data.clusters.map((c, k) => ({
        type: "bar", stack: "cells", barCategoryGap: "22%", itemStyle: { color: c.colour, borderColor: "#fff", borderWidth: 0.5 },
        label: { show: rowHeight > 20, color: "#fff", fontSize: 11, fontWeight: 600, textBorderColor: "rgba(0,0,0,.35)", textBorderWidth: 2, formatter: (p) => (p.value > 0.035 ? String(c.number) : "") },
        data: samples.map((_, s) => counts[s][k] / Math.max(events[s], 1)),
      })),
    });
  }
  function drawConfusion() {
    const { gates, clusters, counts } = data.confusion;
    const wide = byId("gates").clientWidth;
    const names = wide < 560 ? 105 : 170;
    const cell = Math.max(27, Math.min(52, Math.floor((wide - names - 10) / clusters.length)));
    const totals = counts.map((row) => row.reduce((sum, n) => sum + n, 0));
    const rich = Object.fromEntries(data.clusters.map((c, k) => [`c${k}`, { color: c.colour, fontSize: 14, align: "center" }]));
    byId("chart-confusion").style.width = `${names + cell * clusters.length + 10}px`;
    draw("confusion", "svg", gates.length * 25 + 58, {
      grid: { left: names, width: cell * clusters.length, top: 44, height: gates.length * 25 },
      xAxis: { type: "category", data: clusters.map(String), position: "top", axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, color: INK, fontSize: 12, rich, lineHeight: 15, formatter: (n) => `${n}\n{c${n - 1}|●}` } },
      yAxis: { type: "category", data: gates, inverse: true, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, color: INK, fontSize: 12, width: names - 12, overflow: "truncate" } },
      visualMap: { show: false, min: 0, max: 1, inRange: { color: data.palettes.sequential } },
      tooltip: tooltip((p) => `<b>${esc(gates[p.value[1]])}</b><br>cluster ${esc(clusterName(clusters[p.value[0]] - 1))}<br>${counts[p.value[1]][p.value[0]].toLocaleString("en")} of ${totals[p.value[1]].toLocaleString("en")} cells, ${percent(p.value[2])}`),
      series: [{
        type: "heatmap", itemStyle: { borderColor: "#fff", borderWidth: 1 }, emphasis: { itemStyle: { borderColor: INK } },
        data: counts.flatMap((row, g) => row.map((n, c) => [c, g, n / Math.max(totals[g], 1)])),
        label: { show: true, fontSize: 11, formatter: (p) => (p.value[2] >= 0.02 ? Math.round(100 * p.value[2]) : "") },
      }],
    });
  }

  /* Rows by markers, values from 0 to 1, with a number behind each row. */
  function drawDistances(name, rows, distances, { beside, heading, describe }) {
    const wide = byId(name).clientWidth, phone = wide < 560;
    const names = phone ? 105 : 232, after = 96;
    const cell = Math.max(phone ? 24 : 30, Math.min(90, Math.floor((wide - names - after) / data.markers.length)));
    const width = cell * data.markers.length, top = 84, height = 23 * rows.length;
    const rich = Object.fromEntries(rows.map((row, i) => [`c${i}`, { color: row.colour || "transparent", fontSize: 14 }]));
    byId(`chart-${name}`).style.width = `${names + width + after}px`;
    draw(name, "svg", top + height + 8, {
      title: { text: heading, right: 0, top: top - 20, padding: 0, textStyle: { fontSize: 11.5, fontWeight: 400, color: SOFT } },
      grid: { left: names, width, top, height },
      xAxis: { type: "category", data: data.markers, position: "top", axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, rotate: 50, color: INK, fontSize: 12, formatter: (text) => cut(text, 12) } },
      yAxis: [
        { type: "category", data: rows.map((_, i) => String(i)), inverse: true, axisLine: { show: false }, axisTick: { show: false },
          axisLabel: { interval: 0, color: INK, fontSize: 12, rich, formatter: (i) => `${rows[i].colour ? `{c${i}|●} ` : ""}${rows[i].shown(phone ? 12 : 30)}` } },
        { type: "category", data: beside, inverse: true, position: "right", axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, color: INK, fontSize: 12 } },
      ],
      visualMap: { show: false, min: 0, max: 1, inRange: { color: data.palettes.sequential } },
      tooltip: tooltip((p) => `<b>${esc(data.markers[p.value[0]])}</b> in ${esc(rows[p.value[1]].name)}<br>${describe(p.value[1], p.value[0])}`),
      series: [{
        type: "heatmap", itemStyle: { borderColor: "#fff", borderWidth: 1 }, emphasis: { itemStyle: { borderColor: INK } },
        data: distances.flatMap((row, i) => row.map((value, marker) => [marker, i, value ?? "-"])),
        label: { show: cell >= 30, fontSize: 10.5, formatter: (p) => (Number(p.value[2]) >= 0.05 ? p.value[2].toFixed(2) : "") },
      }],
    });
  }
  function drawDrift() {
    const { samples, distance, outside, unfit } = data.drift;
    drawDistances("drift", samples.map((name) => ({ name, shown: (length) => cutMiddle(name, length) })), distance, {
      heading: "fit no cluster", beside: unfit.map(percent),
      describe: (s, m) => `distance ${short(distance[s][m])}<br>${percent(outside[s][m])} of the cells beyond the training's range`,
    });
  }
  function drawGenerated() {
    const { distance, returned } = data.generated;
    const rows = data.clusters.map((c, k) => ({ name: clusterName(k), colour: c.colour, shown: (length) => `${c.number} ${cut(c.title, length - 2)}` }));
    drawDistances("generated", rows, distance, { heading: "back in cluster", beside: returned.map(percent), describe: (k, m) => `distance ${short(distance[k][m])}` });
  }

  /* ------------------------------------------------------------------ page */
  function startButtons() {
    document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => {
      const figure = charts[button.dataset.save];
      const raster = button.dataset.save === "map";
      const link = element("a", { download: `${button.dataset.save}.${raster ? "png" : "svg"}`, href: figure.getDataURL(raster ? { type: "png", pixelRatio: 3, backgroundColor: "#fff" } : { type: "svg" }) });
      link.click();
    }));
    document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
      const selection = getSelection(), range = document.createRange();
      range.selectNodeContents(byId(button.dataset.copy));
      selection.removeAllRanges();
      selection.addRange(range);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
    }));
  }
  function markSection() {
    const links = [...document.querySelectorAll("nav a")];
    const sections = links.map((link) => document.querySelector(link.hash));
    const mark = () => {
      const passed = sections.filter((section) => section.getBoundingClientRect().top < 140).length;
      links.forEach((link, i) => link.classList.toggle("here", i === Math.max(passed - 1, 0)));
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }
  const redraws = [drawMap, drawHeatmap, drawHistograms, drawTransforms];
  if (byId("samples")) redraws.push(drawAbundance);
  if (data.confusion) redraws.push(drawConfusion);
  if (data.training.length) redraws.push(drawTraining);
  if (data.drift) redraws.push(drawDrift);
  if (data.generated) redraws.push(drawGenerated);
  document.querySelectorAll(".key").forEach((key) => { key.style.background = `linear-gradient(90deg, ${data.palettes.sequential.join(",")})`; });

  startMap();
  segments("heatmap-mode", (mode) => { heatmapMode = mode; drawHeatmap(); });
  startHistograms();
  startButtons();
  markSection();
  redraws.slice(1).forEach((redraw) => redraw !== drawHistograms && redraw());
  let width = document.documentElement.clientWidth, timer;
  const again = () => redraws.forEach((redraw) => redraw());
  addEventListener("resize", () => {
    if (width === document.documentElement.clientWidth) return; // a phone's address bar comes and goes
    width = document.documentElement.clientWidth;
    clearTimeout(timer);
    timer = setTimeout(again, 150);
  });
  matchMedia("print").addEventListener("change", again);
  document.body.dataset.ready = "yes";
})();
