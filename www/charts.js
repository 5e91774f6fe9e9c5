// Live lines (uPlot): loss and accuracy of every method over its steps, told apart by colour and by dashes.
import uPlot from "./vendor/uPlot.esm.js";
import { $, css, drawing, element, onTheme, percent } from "./dom.js";
import { method } from "./methods.js";

const HEIGHT = 160;
const KINDS = [["loss", "loss-plot"], ["accuracy", "accuracy-plot"]];
const WORDS = { loss: (value) => value.toFixed(2), accuracy: (value) => percent(value) };

/** A line of one step is a point. */
const isAlone = (plot, index) => plot.data[index].filter((value) => value !== null).length === 1;

export class Lines {
  #plots = [];
  #methods = [];
  #series = {};
  #values = new Map();
  #dirty = false;

  constructor() {
    addEventListener("resize", () => this.#resize());
    onTheme(() => this.#build());
  }

  begin(methods) {
    this.#methods = methods;
    this.#series = Object.fromEntries(methods.map((name) => [name, { loss: [], accuracy: [] }]));
    this.#values.clear();
    this.#legend();
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

  #legend() {
    $("legend").replaceChildren(...this.#methods.map((name) => {
      const { label, color, dash } = method(name);
      const line = drawing("line", { x1: 0, x2: 28, y1: 4, y2: 4, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") });
      const value = element("span", { class: "value" });
      this.#values.set(name, value);
      return element("li", {}, drawing("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" }, line), label, value);
    }));
  }

  #data(kind) {
    const steps = Math.max(0, ...this.#methods.map((name) => this.#series[name][kind].length));
    const x = Array.from({ length: Math.max(0, steps - 1) }, (_, index) => index + 1);
    return [x, ...this.#methods.map((name) => x.map((step) => this.#series[name][kind][step] ?? null))];
  }

  #build() {
    this.#plots.forEach(({ plot }) => plot.destroy());
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px Inter, system-ui" };
    const whole = (_, values) => values.map((value) => (Number.isInteger(value) ? String(value) : ""));
    const series = this.#methods.map((name) => ({ label: method(name).label, stroke: css(method(name).color), width: 2, dash: method(name).dash, spanGaps: true, points: { show: isAlone } }));
    this.#plots = this.#methods.length ? KINDS.map(([kind, id]) => {
      const box = $(id);
      box.replaceChildren();
      box.setAttribute("role", "img");
      box.setAttribute("aria-label", this.#told(kind));
      const percents = kind === "accuracy" ? { values: (_, values) => values.map((value) => `${Math.round(100 * value)} %`) } : {};
      const options = {
        width: box.clientWidth || 320, height: HEIGHT, padding: [8, 8, 0, 0], legend: { show: false }, cursor: { show: false },
        scales: { x: { time: false }, y: kind === "accuracy" ? { range: [0, 1.03] } : { range: (_, low, high) => [0, Math.max(high ?? 1, 0.1) * 1.05] } },
        axes: [{ ...axis, size: 28, values: whole }, { ...axis, size: 46, ...percents }], series: [{}, ...series],
      };
      return { kind, plot: new uPlot(options, this.#data(kind), box) };
    }) : [];
  }

  #draw() {
    this.#dirty = false;
    for (const { kind, plot } of this.#plots) {
      plot.setData(this.#data(kind));
      plot.root.parentElement.setAttribute("aria-label", this.#told(kind));
    }
    for (const [name, value] of this.#values) {
      const loss = this.#series[name].loss.at(-1);
      value.textContent = loss === undefined ? "" : `loss ${WORDS.loss(loss)}`;
    }
  }

  /** What the lines of a plot show, in words. */
  #told(kind) {
    const words = this.#methods.flatMap((name) => {
      const values = this.#series[name][kind];
      const known = values.filter((value) => value !== undefined);
      if (!known.length) return [];
      return `${method(name).label} from ${WORDS[kind](known[0])} to ${WORDS[kind](known.at(-1))} at step ${values.length - 1}`;
    });
    return `${kind === "loss" ? "Loss" : "Accuracy"}: ${words.join(", ") || "no step yet"}`;
  }

  #resize() {
    for (const { plot } of this.#plots) plot.setSize({ width: plot.root.parentElement.clientWidth || 320, height: HEIGHT });
  }
}
