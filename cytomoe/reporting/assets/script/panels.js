/* Histograms of a cluster, transform check, training curves. */
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
    title: words[name] || name, x: { min: 0, max: last, name: "", axisLabel: { hideOverlap: true, showMaxLabel: false, color: SOFT, fontSize: 11 } }, y: { min: 0 },
    series: [{
      data: data.training.filter((r) => name in r).map((r) => [r.step, r[name]]), lineStyle: { color: "#24629a", width: 1.8 },
      markArea: warm ? { silent: true, itemStyle: { color: "#f0f3f6" }, data: [[{ xAxis: 0 }, { xAxis: warm }]] } : undefined,
    }],
  }));
  drawPanels("training", panels, { height: 130, widest: 330, axes: true });
}
