// The lists of methods to choose from.
import { $, element } from "./dom.js";
import { METHODS } from "./methods.js";

export class Chooser {
  #ticked;
  #hadModules = false;

  /** `ticked` is called with a method that a person ticked, or unticked. */
  constructor(ticked) {
    this.#ticked = ticked;
  }

  /** Names of the chosen ones. */
  get chosen() {
    return METHODS.filter((own) => $(`method-${own.name}`)?.checked).map((own) => own.name);
  }

  /** Those that compose need modules; `wanted` stay chosen, and what is on by default is where modules come first. */
  show(hasModules, wanted = this.chosen) {
    const first = !document.querySelector(".methods input");
    const item = (own) => {
      const possible = !own.modules || hasModules;
      const box = element("input", { type: "checkbox", id: `method-${own.name}`, "data-testid": `method-${own.name}`, onchange: () => this.#ticked(own) });
      const on = first || (own.modules && !this.#hadModules) ? own.on || wanted.includes(own.name) : wanted.includes(own.name);
      box.checked = Boolean(on && possible);
      box.disabled = !possible;
      return element("li", { class: possible ? "" : "off" }, element("label", {}, box, element("span", { class: "dot", style: { background: own.color } }),
        element("strong", {}, own.label), element("small", {}, possible ? own.hint : "needs LoRA modules")));
    };
    $("methods").replaceChildren(...METHODS.filter((own) => own.on).map(item));
    $("more-methods").replaceChildren(...METHODS.filter((own) => !own.on).map(item));
    this.#hadModules = hasModules;
  }

  /** Says how many of the folded ones are chosen. */
  count() {
    const { chosen } = this;
    const more = METHODS.filter((own) => !own.on && chosen.includes(own.name)).length;
    $("more-count").textContent = more ? `${more} chosen` : "";
  }
}
