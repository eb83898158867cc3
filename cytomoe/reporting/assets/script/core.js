/* What all figures share: the data, words and numbers, charts, buttons.
   Names come from strangers' files and reach the page only as text: through textContent, or through esc() where ECharts
   takes HTML. The files of this folder are one script, in the order of page.py. */
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const esc = echarts.format.encodeHTML;
const INK = "#17212d", SOFT = "#566273", LINE = "#e1e5ea", MUTED = "#dfe3e8";
const FONT = getComputedStyle(document.body).fontFamily;
const kinds = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, float32: Float32Array };
const charts = {};

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.base64), (character) => character.charCodeAt(0));
  return new kinds[packed.dtype](bytes.buffer);
}
const percent = (share) => (share === 0 ? "0 %" : 100 * share >= 0.05 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %");
const short = (value) => (value === null ? "no cells" : Number(value.toPrecision(3)).toLocaleString("en"));
const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
/* Long names of samples and gates differ at their ends more often than in their middle. */
const cutMiddle = (text, length) => (text.length > length ? `${text.slice(0, Math.ceil(length / 2) - 1)}…${text.slice(-Math.floor(length / 2))}` : text);
/* Names to tell apart in little room: where one is too long, all lose the words that they begin and end with alike. */
function shortNames(names, length) {
  if (names.length < 2 || names.every((name) => name.length <= length)) return names.map((name) => cutMiddle(name, length));
  const alike = (at) => names.every((name) => name.at(at) === names[0].at(at));
  const least = Math.min(...names.map((name) => name.length)) - 1;
  let start = 0, end = 0;
  while (start < least && alike(start)) start += 1;
  while (end < least - start && alike(-1 - end)) end += 1;
  const word = /[^_\-. ]/;
  while (start > 0 && word.test(names[0][start - 1])) start -= 1;
  while (end > 0 && word.test(names[0].at(-end))) end -= 1;
  return names.map((name) => cutMiddle(`${start ? "…" : ""}${name.slice(start, name.length - end)}${end ? "…" : ""}`, length));
}
/* Lines of a text no wider than so many pixels: broken behind spaces and marks, and inside of what is wider still. */
function wrapped(text, width, font) {
  const fits = (line) => echarts.format.getTextRect(line.trimEnd(), font).width <= width;
  const lines = [""];
  for (const piece of cutMiddle(text, 200).split(/(?<=[\s_,;:/-])/)) {
    for (const part of fits(piece) ? [piece] : piece) {
      if (lines.at(-1) && !fits(lines.at(-1) + part)) lines.push("");
      lines[lines.length - 1] += part;
    }
  }
  return lines.map((line) => line.trim());
}
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
