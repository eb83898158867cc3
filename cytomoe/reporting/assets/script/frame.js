/* What every page does around its figures: buttons, the list of sections, drawing again where the room has changed. */
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
function keepDrawn(redraws) {
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
}
