// The composition: a heat map (modules across, layers down), the mean of every module as a bar that can be dragged, and
// what helped, in words.
import { $, element, fail } from "./dom.js";
import { method } from "./methods.js";

/** Compositions whose weights alone make the model, so that dragging a bar shows what the weights do. */
const DRAGGED = ["learned", "learned-free", "uniform", "best-module"];

export class CompositionView {
  #engine;
  #mixed;
  #reports = new Map();
  #busy = false;
  #next = null;

  /** `mixed` is called after a bar was dragged. */
  constructor(engine, mixed) {
    this.#engine = engine;
    this.#mixed = mixed;
    $("composed-method").addEventListener("change", () => this.#draw());
  }

  begin() {
    this.#reports.clear();
    $("composed").hidden = true;
  }

  /** Weights while a method trains, or at its end. */
  show(name, coefficients, done) {
    this.#reports.set(name, { coefficients, done });
    const select = $("composed-method");
    const chosen = select.value;
    const names = [...this.#reports.keys()];
    if (select.options.length !== names.length || [...select.options].some((option, index) => option.value !== names[index])) {
      select.replaceChildren(...names.map((own) => element("option", { value: own }, method(own).label)));
      // The learned weights are what people came for.
      select.value = names.includes(chosen) && chosen !== "uniform" ? chosen : names.includes("learned") ? "learned" : names.at(-1);
    }
    $("composed").hidden = false;
    if (select.value === name) this.#draw();
  }

  #draw() {
    const name = $("composed-method").value;
    const own = this.#reports.get(name);
    if (!own) return;
    const draggable = own.done && DRAGGED.includes(name);
    $("composition").replaceChildren(heatMap(own.coefficients), this.#bars(name, own.coefficients, draggable));
    $("helped").textContent = own.done ? whatHelped(name, own.coefficients) : "";
  }

  #bars(name, coefficients, draggable) {
    const { modules, means } = coefficients;
    const largest = Math.max(1e-6, ...means.map(Math.abs));
    const bars = modules.map((module, index) => {
      const value = element("span", { class: "bar-value" }, means[index].toFixed(3));
      const bar = draggable && means[index] > 0
        ? element("input", { type: "range", class: "drag", min: "0", max: String(Math.max(1, 2 * largest)), step: "0.005", value: String(means[index]),
          "aria-label": `Weight of ${module}`, oninput: (event) => this.#drag(name, index, Number(event.target.value)) })
        : element("span", { class: "bar" }, element("span", { class: means[index] < 0 ? "fill negative" : "fill", style: { width: `${(100 * Math.abs(means[index])) / largest}%` } }));
      return element("li", {}, element("span", { class: "bar-name", title: module }, module), bar, value);
    });
    return element("ul", { class: "bars" }, ...bars);
  }

  /** One request at a time; the last position of the bar wins. */
  async #drag(name, index, share) {
    this.#next = { name, index, share };
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#next) {
        const own = this.#next;
        this.#next = null;
        const { means } = this.#reports.get(own.name).coefficients;
        const rest = 1 - Math.min(1, means[own.index]);
        const keep = rest > 1e-6 ? Math.max(1e-4, (1 - Math.min(1, own.share)) / rest) : 1;
        const factors = means.map((mean, other) => (other === own.index ? own.share / mean : keep));
        const mixed = await this.#engine.reweigh(own.name, factors);
        this.#redraw(mixed);
        await this.#mixed();
      }
    } catch (error) {
      fail(error);
    } finally {
      this.#busy = false;
    }
  }

  /** New weights without rebuilding the bar under the finger. */
  #redraw(mixed) {
    $("composition").firstChild.replaceWith(heatMap(mixed));
    const rows = [...$("composition").querySelectorAll(".bars li")];
    mixed.means.forEach((mean, index) => {
      rows[index].querySelector(".bar-value").textContent = mean.toFixed(3);
      const input = rows[index].querySelector("input");
      if (input && input !== document.activeElement) input.value = String(mean);
    });
    $("helped").textContent = "Your own mix answers under Try it as “Your mix”.";
  }
}

function heatMap({ modules, groups, weights }) {
  const largest = Math.max(1e-6, ...weights.flat().map(Math.abs));
  const canvas = element("canvas", { width: modules.length * 24, height: Math.max(1, weights.length) * 4, class: "heat", role: "img",
    "aria-label": `composition weights of ${modules.length} modules in ${groups.length} layer groups, first layer on top; the means follow as text` });
  const context = canvas.getContext("2d");
  weights.forEach((row, y) => row.forEach((value, x) => {
    const strength = Math.abs(value) / largest;
    context.fillStyle = value >= 0 ? `rgb(38 110 190 / ${strength})` : `rgb(190 80 30 / ${strength})`;
    context.fillRect(x * 24, y * 4, 23, 4);
  }));
  return element("div", { class: "heat-wrap" }, canvas,
    element("p", { class: "muted small" }, `${modules.length} modules across, ${groups.length === 1 ? "one weight for all layers" : `${groups.length} layer groups from the first (top) to the last`}; darker weighs more${weights.flat().some((value) => value < 0) ? ", orange is negative" : ""}.`));
}

/** What helped, in words. */
export function whatHelped(name, { modules, means }) {
  if (modules.length < 2) return "";
  if (name === "uniform") return "Every module has the same weight, by definition.";
  const order = modules.map((module, index) => ({ module, mean: means[index] })).sort((a, b) => b.mean - a.mean);
  const even = 1 / modules.length;
  if (order[0].mean - order.at(-1).mean < 0.1 * even) return "The weights stayed close to even: no module stands out.";
  return `${order[0].module} weighs most (${order[0].mean.toFixed(2)} on average), ${order.at(-1).module} least (${order.at(-1).mean.toFixed(2)}).`;
}
