// Live lines (uPlot) and the composition as a heat map with bars.
import uPlot from "./vendor/uPlot.esm.js";
import { $ } from "./dom.js";
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
