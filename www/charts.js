// Live lines (uPlot) and the composition as a heat map with bars.
import uPlot from "./vendor/uPlot.esm.js";
import { $, element } from "./dom.js";
import { method } from "./methods.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const resolve = (color) => css(color.replace(/^var\((.*)\)$/, "$1"));

/** Loss and accuracy of every method over its steps. */
export class Lines {
  #plots = [];
  #methods = [];
  #series = {};
  #dirty = false;

  begin(methods) {
    this.#methods = methods;
    this.#series = Object.fromEntries(methods.map((name) => [name, { loss: [], accuracy: [] }]));
    this.#build();
  }

  add(name, step, loss, accuracy) {
    const own = this.#series[name];
    if (!own) return;
    own.loss[step] = loss;
    own.accuracy[step] = accuracy;
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => this.#draw());
  }

  #data(kind) {
    const steps = Math.max(0, ...this.#methods.map((name) => this.#series[name][kind].length));
    const x = Array.from({ length: Math.max(0, steps - 1) }, (_, index) => index + 1);
    return [x, ...this.#methods.map((name) => x.map((step) => this.#series[name][kind][step] ?? null))];
  }

  #build() {
    this.#plots.forEach(({ plot }) => plot.destroy());
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line") }, ticks: { show: false }, font: "12px system-ui" };
    const series = this.#methods.map((name) => ({ label: method(name).label, stroke: resolve(method(name).color), width: 2, spanGaps: true }));
    this.#plots = [["loss", "loss-plot"], ["accuracy", "accuracy-plot"]].map(([kind, id]) => {
      const box = $(id);
      box.replaceChildren();
      const options = {
        width: box.clientWidth || 320, height: 150, legend: { show: false }, cursor: { show: false },
        scales: { x: { time: false }, ...(kind === "accuracy" ? { y: { range: [0, 1.02] } } : {}) },
        axes: [axis, { ...axis, size: 44 }], series: [{}, ...series],
      };
      return { kind, plot: new uPlot(options, this.#data(kind), box) };
    });
  }

  #draw() {
    this.#dirty = false;
    for (const { kind, plot } of this.#plots) plot.setData(this.#data(kind));
  }

  resize() {
    for (const { plot } of this.#plots) plot.setSize({ width: plot.root.parentElement.clientWidth || 320, height: 150 });
  }
}

/** Modules across, layers down; darker is a larger weight. */
export function drawComposition(box, { modules, weights, means }) {
  const largest = Math.max(1e-6, ...weights.flat().map(Math.abs));
  const canvas = element("canvas", { width: modules.length * 24, height: Math.max(1, weights.length) * 4, class: "heat", role: "img",
    "aria-label": `composition weights of ${modules.length} modules in ${weights.length} layers` });
  const context = canvas.getContext("2d");
  weights.forEach((row, y) => row.forEach((value, x) => {
    const strength = Math.abs(value) / largest;
    context.fillStyle = value >= 0 ? `rgb(38 110 190 / ${strength})` : `rgb(190 80 30 / ${strength})`;
    context.fillRect(x * 24, y * 4, 23, 4);
  }));
  const top = Math.max(1e-6, ...means.map(Math.abs));
  const bars = modules.map((name, index) =>
    element("li", {},
      element("span", { class: "bar-name" }, name),
      element("span", { class: "bar" }, element("span", { class: means[index] < 0 ? "fill negative" : "fill", style: { width: `${(100 * Math.abs(means[index])) / top}%` } })),
      element("span", { class: "bar-value" }, means[index].toFixed(3))));
  box.replaceChildren(element("div", { class: "heat-wrap" }, canvas), element("ul", { class: "bars" }, ...bars));
}

/** What helped, in words. */
export function whatHelped({ modules, means }) {
  if (modules.length < 2) return "";
  const order = modules.map((name, index) => ({ name, mean: means[index] })).sort((a, b) => b.mean - a.mean);
  const even = 1 / modules.length;
  if (order[0].mean - order.at(-1).mean < 0.1 * even) return "The learned weights stayed close to even: no module stands out.";
  return `${order[0].name} helped most (${order[0].mean.toFixed(2)} of the weight on average), ${order.at(-1).name} least (${order.at(-1).mean.toFixed(2)}).`;
}
