// A composition as a woven map: a column per module, a row per layer group. Colour says how far a weight is from an even
// share (or from zero, for signed weights).
import { css, element } from "./dom.js";

const COLUMN = 24;
const ROW = 6;
const GAP = 2;
/** Differences smaller than this part of an even share stay pale. */
const FLOOR = 0.3;

const blockOf = (group) => /^blocks\.(\d+)/.exec(group)?.[1];

/** Rows of groups, gathered by block: [{label, count}]. */
function runs(groups) {
  const found = [];
  for (const group of groups) {
    const block = blockOf(group);
    const label = block === undefined ? "all layers" : String(Number(block) + 1);
    if (found.at(-1)?.label === label) found.at(-1).count += 1;
    else found.push({ label, count: 1 });
  }
  return found;
}

/** Where colour is neutral, and the distance at which it is full. */
function range({ modules, weights }) {
  const values = weights.flat();
  const signed = values.some((value) => value < 0);
  const center = signed ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
  const far = Math.max(...values.map((value) => Math.abs(value - center)));
  const floor = FLOOR * (signed ? 1 / modules.length : center);
  return { signed, center, far: Math.max(far, floor, 1e-6) };
}

/** Where the rows of groups begin, and where the last one ends. */
function rowsOf(groups) {
  const rows = [];
  let y = 0;
  groups.forEach((group, index) => {
    if (index && blockOf(group) !== blockOf(groups[index - 1])) y += GAP;
    rows.push(y);
    y += ROW;
  });
  return { rows, height: Math.max(y, 1) };
}

function paint(canvas, weights, rows, { center, far }) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [high, low] = [css("--high"), css("--low")];
  weights.forEach((row, index) => row.forEach((value, column) => {
    context.globalAlpha = Math.min(1, Math.abs(value - center) / far);
    context.fillStyle = value >= center ? high : low;
    context.fillRect(column * COLUMN, rows[index], COLUMN - 1, ROW);
  }));
}

/** Tells the weight under the pointer, or under the arrow keys; `shown` holds the report of now. */
function point(canvas, shown, { rows, height }, tell) {
  let [row, column] = [0, 0];
  const show = () => {
    const { modules, groups, weights } = shown.report;
    const layer = groups[row].replace(/^blocks\.(\d+)\.?/, (_, block) => `layer ${Number(block) + 1} `);
    tell(`${layer} · ${modules[column]}: ${weights[row][column].toFixed(3)}`);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const count = shown.report.modules.length;
    column = Math.max(0, Math.min(count - 1, Math.floor(((event.clientX - box.left) / box.width) * count)));
    row = Math.max(0, rows.findLastIndex((y) => y <= ((event.clientY - box.top) / box.height) * height));
    show();
  });
  canvas.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    row = Math.max(0, Math.min(rows.length - 1, row + down));
    column = Math.max(0, Math.min(shown.report.modules.length - 1, column + right));
    show();
  });
  canvas.addEventListener("focus", show);
  for (const left of ["pointerleave", "blur"]) canvas.addEventListener(left, () => tell(""));
}

/** The map with its labels and scale: {node, update}; `update` takes other weights of the same modules and groups. */
export function heatMap(report) {
  const { modules, groups } = report;
  const shown = { report };
  const place = rowsOf(groups);
  const canvas = element("canvas", { width: modules.length * COLUMN, height: place.height, class: "heat", role: "img", tabindex: "0",
    "aria-label": `Composition weights of ${modules.length} modules in ${groups.length} layer groups: arrow keys read them one by one, and their means follow as text` });
  canvas.style.height = `${Math.min(320, Math.max(120, place.height))}px`;
  const spot = element("span", { class: "spot", "aria-live": "polite" });
  point(canvas, shown, place, (text) => (spot.textContent = text));
  const blocks = runs(groups);
  const every = Math.ceil(modules.length / 24);
  const layers = element("div", { class: "layers", "aria-hidden": "true", style: { "grid-template-rows": blocks.map(({ count }) => `${count}fr`).join(" ") } }, ...blocks.map(({ label }) => element("span", {}, label)));
  const columns = element("div", { class: "columns", "aria-hidden": "true" }, ...modules.map((_, index) => element("span", {}, index % every ? "" : String(index + 1))));
  const [low, high, middle] = [element("span", {}), element("span", {}), element("span", {})];
  const update = (next) => {
    shown.report = next;
    const span = range(next);
    paint(canvas, next.weights, place.rows, span);
    [low.textContent, high.textContent] = span.signed ? ["negative", "positive"] : ["less", "more"];
    middle.textContent = `middle: ${span.signed ? "zero" : `an even share (${span.center.toFixed(2)})`}`;
  };
  update(report);
  const node = element("div", {},
    element("div", { class: "loom" }, layers, canvas, element("span", { class: "corner", "aria-hidden": "true" }, "layer\u00a0↑ module\u00a0→"), columns),
    element("div", { class: "scale" }, low, element("i", {}), high, middle, spot));
  return { node, update };
}

/** A small interval with its value, from 0 to 1. */
export function interval(value, [low, high]) {
  const at = (share) => `${100 * share}%`;
  return element("span", { class: "range", "aria-hidden": "true" }, element("i", { style: { left: at(low), width: at(high - low) } }), element("b", { style: { left: at(value) } }));
}
