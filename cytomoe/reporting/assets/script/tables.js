/* Clusters in samples, gates against clusters, markers against samples or clusters. */
function drawAbundance() {
  const { samples, events, counts } = data.abundance;
  const names = byId("samples").clientWidth < 560 ? 124 : 210;
  const shown = shortNames(samples, Math.floor((names - 12) / 7));
  const rowHeight = samples.length > 40 ? 14 : 26;
  draw("abundance", "svg", samples.length * rowHeight + 34, {
    grid: { left: names, right: 16, top: 4, bottom: 28 },
    xAxis: numberAxis({ min: 0, max: 1, axisLabel: { color: SOFT, fontSize: 11, formatter: (v) => `${Math.round(100 * v)} %` } }),
    yAxis: { type: "category", data: samples, inverse: true, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: INK, fontSize: 12, interval: 0, formatter: (_, row) => shown[row] } },
    tooltip: tooltip((p) => `<b>${esc(samples[p.dataIndex])}</b><br>${data.what} ${esc(clusterName(p.seriesIndex))}<br>${counts[p.dataIndex][p.seriesIndex].toLocaleString("en")} events, ${percent(p.value)}`),
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
  const widest = Math.max(...gates.map((gate) => echarts.format.getTextRect(gate, `12px ${FONT}`).width));
  const names = Math.min(widest + 20, wide < 560 ? 130 : 250);
  const cell = Math.max(27, Math.min(52, Math.floor((wide - names - 10) / clusters.length)));
  const totals = counts.map((row) => row.reduce((sum, n) => sum + n, 0));
  const rich = Object.fromEntries(data.clusters.map((c, k) => [`c${k}`, { color: c.colour, fontSize: 14, align: "center" }]));
  byId("chart-confusion").style.width = `${names + cell * clusters.length + 10}px`;
  draw("confusion", "svg", gates.length * 25 + 58, {
    grid: { left: names, width: cell * clusters.length, top: 44, height: gates.length * 25 },
    xAxis: { type: "category", data: clusters.map(String), position: "top", axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, color: INK, fontSize: 12, rich, lineHeight: 15, formatter: (n) => `${n}\n{c${n - 1}|●}` } },
    yAxis: { type: "category", data: gates, inverse: true, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { interval: 0, color: INK, fontSize: 12, formatter: (name) => cutMiddle(name, Math.floor(names / 6.4)) } },
    visualMap: { show: false, min: 0, max: 1, inRange: { color: data.palettes.sequential } },
    tooltip: tooltip((p) => `<b>${esc(gates[p.value[1]])}</b><br>${data.what} ${esc(clusterName(clusters[p.value[0]] - 1))}<br>${counts[p.value[1]][p.value[0]].toLocaleString("en")} of ${totals[p.value[1]].toLocaleString("en")} events, ${percent(p.value[2])}`),
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
  const names = phone ? 124 : 232, after = 96;
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
        axisLabel: { interval: 0, color: INK, fontSize: 12, rich, formatter: (i) => `${rows[i].colour ? `{c${i}|●} ` : ""}${rows[i].shown(phone ? 15 : 30)}` } },
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
  const rows = samples.map((name, i) => ({ name, shown: (length) => shortNames(samples, length)[i] }));
  drawDistances("drift", rows, distance, {
    heading: "fit no cluster", beside: unfit.map(percent),
    describe: (s, m) => `distance ${short(distance[s][m])}<br>${percent(outside[s][m])} of the events beyond the training's range`,
  });
}
function drawGenerated() {
  const { distance, returned } = data.generated;
  const rows = data.clusters.map((c, k) => ({ name: clusterName(k), colour: c.colour, shown: (length) => `${c.number} ${cut(c.title, length - 2)}` }));
  drawDistances("generated", rows, distance, { heading: `back in ${data.what}`, beside: returned.map(percent), describe: (k, m) => `distance ${short(distance[k][m])}` });
}
