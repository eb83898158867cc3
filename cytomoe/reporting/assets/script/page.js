/* The page of a run: its first drawing. */
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
keepDrawn(redraws);
