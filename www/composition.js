// The composition: a heat map (modules across, layers down), the mean of every module as a bar that can be dragged, and
// what helped, in words.
import { $, element, fail, onTheme } from "./dom.js";
import { heatMap } from "./heatmap.js";
import { method } from "./methods.js";

/** Compositions whose weights alone make the model, so that dragging a bar shows what the weights do. */
const DRAGGED = ["learned", "learned-scaled", "uniform", "uniform-scaled"];

/** What is shown until a person chooses: the learned weights are what people came for. */
const TELLING = ["learned", "learned-scaled", "learned-free", "learned+lora", "best-module", "lorahub"];

const OWN_MIX = "Your own mix: what it says of new pictures appears under Try it.";

const sum = (values) => values.reduce((total, value) => total + value, 0);

export class CompositionView {
  #engine;
  #mixed;
  #reports = new Map();
  #busy = false;
  #next = null;
  #waiting = false;
  /** The modules that there are, as one word. */
  #library = "";
  /** Counts what makes a mix that is on its way out of date. */
  #changes = 0;
  /** What the drawn rows belong to. */
  #drawn = "";
  /** None where all layers have the same weights: the bars say as much. */
  #map = null;
  /** The modules and layers that the map is of. */
  #woven = "";
  /** Whether a person chose what is shown. */
  #picked = false;

  /** `mixed` is called after a bar was dragged. */
  constructor(engine, mixed) {
    this.#engine = engine;
    this.#mixed = mixed;
    $("composed-method").addEventListener("change", () => {
      this.#picked = true;
      this.#draw();
    });
    onTheme(() => this.#draw());
  }

  clear() {
    this.#reports.clear();
    this.#picked = false;
    $("composed").hidden = true;
  }

  drop(name) {
    if (!this.#reports.delete(name)) return;
    this.#options();
    $("composed").hidden = !this.#reports.size;
    this.#draw();
  }

  /** Weights of other modules than there are show, and nothing can be dragged. */
  setLibrary(library) {
    if (library === this.#library) return;
    this.#library = library;
    if ([...this.#reports.values()].some(({ mix }) => mix)) this.#engine.forget([]).then(() => this.#mixed()).catch(fail);
    this.freeze([]);
  }

  /** The worker no longer has what these weights belong to: they show, and nothing can be dragged. Nor has it any mix. */
  freeze(methods) {
    this.#changes += 1;
    for (const own of this.#reports.values()) own.mix = null;
    for (const name of methods) if (this.#reports.has(name)) this.#reports.get(name).live = false;
    this.#draw();
  }

  /** Weights while a method trains, or at its end; `live` if the worker can mix them anew. */
  show(name, coefficients, done, live = done) {
    this.#reports.set(name, { coefficients, done, live, library: this.#library });
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
    this.#picked &&= names.includes(chosen);
    select.value = this.#picked ? chosen : (TELLING.find((name) => names.includes(name)) ?? names.at(-1));
  }

  #canMix(report) {
    return Boolean(report?.live) && report.library === this.#library;
  }

  #draw() {
    const name = $("composed-method").value;
    const own = this.#reports.get(name);
    if (!own) return;
    const shown = own.mix ?? own.coefficients;
    // A mix keeps its sum, so that one module alone has nothing to give.
    const draggable = this.#canMix(own) && DRAGGED.includes(name) && shown.modules.length > 1;
    $("helped").textContent = own.mix ? OWN_MIX : own.done ? whatHelped(name, own.coefficients) : "";
    // While a method trains only numbers change: what has the keyboard keeps it.
    const kind = JSON.stringify([name, draggable, shown.modules, shown.groups]);
    if (this.#drawn === kind) return this.#redraw(name, shown, draggable);
    this.#drawn = kind;
    const hint = draggable ? element("p", { class: "row hint" }, element("span", { class: "muted small" }, "Drag a bar to make your own mix: what it says of new pictures appears under Try it."), this.#back(name)) : null;
    const held = this.#held;
    this.#weave(shown);
    $("composition").replaceChildren(...[this.#map?.node, hint, this.#bars(name, shown, draggable)].filter(Boolean));
    this.#redraw(name, shown, draggable);
    if (held) ($("composition").querySelector(held) ?? $("composed-method")).focus({ preventScroll: true });
  }

  /** What of the drawn parts has the keyboard, as a selector: what takes its place gets it. */
  get #held() {
    const own = $("composition");
    if (!own.contains(document.activeElement)) return "";
    return document.activeElement.matches(".heat") ? ".heat" : ".weights";
  }

  /** The map stays while it is of the same modules and layers, and with it the place that somebody reads. */
  #weave(shown) {
    const woven = JSON.stringify([shown.modules, shown.groups]);
    if (woven !== this.#woven) this.#map = shown.groups.length > 1 ? heatMap(shown) : null;
    this.#woven = woven;
  }

  /** From a mix to the trained weights again. */
  #back(name) {
    return element("button", { type: "button", class: "quiet", "data-testid": "unmix", onclick: async () => {
      const own = this.#reports.get(name);
      try {
        await this.#engine.forget([]);
        own.mix = null;
        $("composed-method").focus();
        this.#draw();
        await this.#mixed();
      } catch (error) {
        fail(error);
      }
    } }, "Back to the trained weights");
  }

  #bars(name, { modules, means }, draggable) {
    const { largest, top } = reach(means, draggable);
    const bars = modules.map((module, index) => {
      const mean = means[index];
      const bar = draggable && mean > 0
        ? element("input", { type: "range", min: "0", max: String(Math.max(top, mean)), step: "any", value: String(mean), "aria-label": `Weight of ${module}`,
          "aria-valuetext": mean.toFixed(3), oninput: (event) => this.#drag(name, index, Number(event.target.value)) })
        : element("span", { class: "bar" }, element("span", { class: mean < 0 ? "fill negative" : "fill", style: { width: width(mean, largest, top) } }));
      return element("li", {}, element("span", { class: "number" }, String(index + 1)), element("span", { class: "bar-name", title: module }, module), bar,
        element("span", { class: "bar-value" }, mean.toFixed(3)));
    });
    return element("ul", { class: "bars weights", tabindex: "0", "aria-label": "Mean weight of every module" }, ...bars);
  }

  /** One request at a time; the last position of the bar wins. */
  async #drag(name, index, share) {
    this.#next = { name, index, share };
    this.#picked = true;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#next) {
        const own = this.#next;
        this.#next = null;
        const report = this.#reports.get(own.name);
        // A new run may have begun meanwhile.
        if (!this.#canMix(report)) break;
        const changes = this.#changes;
        const mix = await this.#engine.reweigh(own.name, dragged(report, own));
        if (changes !== this.#changes || report !== this.#reports.get(own.name)) {
          await this.#engine.forget([]);
          break;
        }
        // The worker keeps one mix.
        for (const other of this.#reports.values()) other.mix = null;
        report.mix = mix;
        this.#draw();
        await this.#mixed();
      }
    } catch (error) {
      fail(error);
    } finally {
      this.#busy = false;
    }
  }

  /** New weights without rebuilding the bar under the finger. */
  #redraw(name, report, draggable) {
    this.#map?.update(report);
    const { largest, top } = reach(report.means, draggable);
    const rows = [...$("composition").querySelectorAll(".weights li")];
    report.means.forEach((mean, index) => {
      rows[index].querySelector(".bar-value").textContent = mean.toFixed(3);
      const fill = rows[index].querySelector(".fill");
      fill?.classList.toggle("negative", mean < 0);
      fill?.style.setProperty("width", width(mean, largest, top));
      const input = rows[index].querySelector("input");
      if (input && input !== document.activeElement) input.value = String(mean);
      input?.setAttribute("aria-valuetext", mean.toFixed(3));
    });
    const back = $("composition").querySelector("[data-testid=unmix]");
    if (back) back.hidden = !this.#reports.get(name).mix;
  }
}

/** The largest mean, and the value at the end of a bar. */
function reach(means, draggable) {
  const largest = Math.max(1e-6, ...means.map(Math.abs));
  const total = sum(means);
  return { largest, top: draggable ? Math.min(total, Math.max(total / 2, 2 * largest)) : Math.min(Math.max(1, total), Math.max(0.5, 2 * largest)) };
}

const width = (mean, largest, top) => `${(100 * Math.abs(mean)) / Math.max(largest, top)}%`;

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
