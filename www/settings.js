// What decides a run: from the address (?device=&model=&img_size=&example&steps=&seed=&folds=), from the fields, from the last visit.
import { $ } from "./dom.js";

const query = new URLSearchParams(location.search);
const NUMBERS = { steps: 40, seed: 0, folds: 3 };

const whole = (text, field) => {
  const value = Math.round(Number(text));
  return text !== "" && Number.isFinite(value) ? Math.min(Math.max(value, Number(field.min)), Number(field.max)) : undefined;
};

/** What a number can be. One fold would hold everything out, so that nothing would be left to learn from. */
const possible = (name, text) => {
  const value = whole(text, $(name));
  return name === "folds" && value === 1 ? 2 : value;
};

export const settings = {
  device: query.get("device") ?? "auto",
  /** Why this device was asked for. */
  why: "asked for in the address",
  model: query.get("model"),
  /** Side of the input in pixels of that model, if another one than its own is asked for. */
  imgSize: Number(query.get("img_size")) || undefined,
  example: query.has("example"),
  ...NUMBERS,

  /** The three numbers. */
  get chosen() {
    return { steps: this.steps, seed: this.seed, folds: this.folds };
  },

  /** Takes numbers from elsewhere; those in the address win. */
  set(values) {
    for (const name of Object.keys(NUMBERS)) {
      this[name] = possible(name, query.get(name) ?? String(values[name] ?? "")) ?? this[name];
    }
    this.show();
  },

  show() {
    for (const name of Object.keys(NUMBERS)) $(name).value = String(this[name]);
    $("settings-line").textContent = `${this.steps} steps, seed ${this.seed}, ${this.folds} folds`;
  },
};

/** Calls back when a person changes a number; one that is out of range becomes the nearest, what is none falls back to the last one. */
export function bindSettings(changed) {
  for (const name of Object.keys(NUMBERS)) {
    $(name).addEventListener("change", () => {
      settings[name] = possible(name, $(name).value) ?? settings[name];
      settings.show();
      changed();
    });
  }
}
