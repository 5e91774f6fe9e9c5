// The composition: a heat map (modules across, layers down), the mean of every module as a bar that can be dragged, and
// what helped, in words.
import { $, element, fail, onTheme } from "./dom.js";
import { heatMap } from "./heatmap.js";
import { method } from "./methods.js";

/** Compositions whose weights alone make the model, so that dragging a bar shows what the weights do. */
const DRAGGED = ["learned", "learned-scaled", "uniform", "uniform-scaled"];

const OWN_MIX = "Your own mix answers under Try it.";

const sum = (values) => values.reduce((total, value) => total + value, 0);

export class CompositionView {
  #engine;
  #mixed;
  #reports = new Map();
  #busy = false;
  #next = null;
  #waiting = false;

  /** `mixed` is called after a bar was dragged. */
  constructor(engine, mixed) {
    this.#engine = engine;
    this.#mixed = mixed;
    $("composed-method").addEventListener("change", () => this.#draw());
    onTheme(() => this.#draw());
  }

  begin() {
    this.#reports.clear();
    $("composed").hidden = true;
  }

  /** The worker no longer has what these weights belong to: they show, and nothing can be dragged. */
  freeze() {
    for (const own of this.#reports.values()) own.live = false;
    this.#draw();
  }

  /** Weights while a method trains, or at its end; `live` if the worker can mix them anew. */
  show(name, coefficients, done, live = done) {
    this.#reports.set(name, { coefficients, done, live });
    this.#options();
    $("composed").hidden = false;
    if ($("composed-method").value !== name || this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #options() {
    const select = $("composed-method");
    const names = [...this.#reports.keys()];
    if (select.options.length === names.length && names.every((name, index) => select.options[index].value === name)) return;
    const chosen = select.value;
    select.replaceChildren(...names.map((own) => element("option", { value: own }, method(own).label)));
    // The learned weights are what people came for.
    select.value = names.includes(chosen) && chosen !== "uniform" ? chosen : names.includes("learned") ? "learned" : names.at(-1);
  }

  #draw() {
    const name = $("composed-method").value;
    const own = this.#reports.get(name);
    if (!own) return;
    // A mix keeps its sum, so that one module alone has nothing to give.
    const draggable = own.live && DRAGGED.includes(name) && own.coefficients.modules.length > 1;
    const hint = draggable ? element("p", { class: "muted small" }, "Drag a bar to make your own mix: its answers appear under Try it.") : null;
    $("composition").replaceChildren(...[heatMap(own.mix ?? own.coefficients), hint, this.#bars(name, own.mix ?? own.coefficients, draggable)].filter(Boolean));
    $("helped").textContent = own.mix ? OWN_MIX : own.done ? whatHelped(name, own.coefficients) : "";
  }

  #bars(name, { modules, means }, draggable) {
    const largest = Math.max(1e-6, ...means.map(Math.abs));
    const total = sum(means);
    const top = draggable ? Math.min(total, Math.max(total / 2, 2 * largest)) : Math.min(Math.max(1, total), Math.max(0.5, 2 * largest));
    const bars = modules.map((module, index) => {
      const mean = means[index];
      const bar = draggable && mean > 0
        ? element("input", { type: "range", min: "0", max: String(Math.max(top, mean)), step: "any", value: String(mean), "aria-label": `Weight of ${module}`,
          "aria-valuetext": mean.toFixed(3), oninput: (event) => this.#drag(name, index, Number(event.target.value)) })
        : element("span", { class: "bar" }, element("span", { class: mean < 0 ? "fill negative" : "fill", style: { width: `${(100 * Math.abs(mean)) / Math.max(largest, top)}%` } }));
      return element("li", {}, element("span", { class: "number" }, String(index + 1)), element("span", { class: "bar-name", title: module }, module), bar,
        element("span", { class: "bar-value" }, mean.toFixed(3)));
    });
    return element("ul", { class: "bars weights", tabindex: "0", "aria-label": "Mean weight of every module" }, ...bars);
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
        const report = this.#reports.get(own.name);
        // A new run may have begun meanwhile.
        if (!report?.live) break;
        const mix = await this.#engine.reweigh(own.name, dragged(report, own));
        report.mix = mix;
        this.#redraw(mix);
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
    const rows = [...$("composition").querySelectorAll(".weights li")];
    mixed.means.forEach((mean, index) => {
      rows[index].querySelector(".bar-value").textContent = mean.toFixed(3);
      const input = rows[index].querySelector("input");
      if (input && input !== document.activeElement) input.value = String(mean);
      input?.setAttribute("aria-valuetext", mean.toFixed(3));
    });
    $("helped").textContent = OWN_MIX;
  }
}

/** Factors of a method's weights after one bar of its mix is moved: the others keep their sum and their proportions. */
function dragged({ coefficients, mix }, { index, share }) {
  const { means } = mix ?? coefficients;
  const total = sum(means);
  const rest = total - Math.min(total, means[index]);
  const keep = rest > 1e-6 ? Math.max(1e-4, (total - Math.min(total, share)) / rest) : 1;
  return coefficients.means.map((mean, other) => (other === index ? share : means[other] * keep) / mean);
}

/** What helped, in words. */
export function whatHelped(name, { modules, means }) {
  if (modules.length < 2) return "";
  if (["uniform", "uniform-scaled"].includes(name)) return "Every module has the same weight, by definition.";
  const order = modules.map((module, index) => ({ module, mean: means[index] })).sort((a, b) => b.mean - a.mean);
  const even = Math.abs(sum(means)) / modules.length;
  if (order[0].mean - order.at(-1).mean < 0.1 * even) return "The weights stayed close to even: no module stands out.";
  return `“${order[0].module}” weighs most (${order[0].mean.toFixed(2)} on average), “${order.at(-1).module}” least (${order.at(-1).mean.toFixed(2)}).`;
}
