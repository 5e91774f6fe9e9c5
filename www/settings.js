// What decides a run: from the address (?device=&model=&img_size=&example&steps=&seed=&folds=&augment=&crops=), from the fields, from the last visit.
import { $, say } from "./dom.js";

const query = new URLSearchParams(location.search);
const NUMBERS = { steps: 40, seed: 0, folds: 3 };
/** Images per step, at most; where a project or a visit does not say it, it was made with as many as there were then. */
const BATCH_SIZE = 16;
const FORMER_BATCH_SIZE = 32;
/** Views of every picture that heads are fitted on where pictures are varied. */
const VIEWS = 4;
/** How training pictures are varied, and what the worker is told of it. Nothing for pictures as they are: what was learned before there was a choice stays up to date. */
const AUGMENTS = { none: {}, crops: { augment: true, mirror: false }, mirrored: { augment: true, mirror: true } };
/** The longest side of an input in pixels that is computed. */
const LARGEST = 2048;
/** By which parts of a picture it is answered. */
const CROPS = { one: {}, five: { multi_crop: true } };
const NAMED = { augment: AUGMENTS, crops: CROPS };
const CHOICES = [...Object.keys(NUMBERS), ...Object.keys(NAMED)];

const whole = (text, field) => {
  const value = Math.round(Number(text));
  return text !== "" && Number.isFinite(value) ? Math.min(Math.max(value, Number(field.min)), Number(field.max)) : undefined;
};

/** What a setting can be; undefined if the text is none. One fold would hold everything out, so that nothing would be left to learn from. */
const possible = (name, text) => {
  if (NAMED[name]) return Object.hasOwn(NAMED[name], text) ? text : undefined;
  const value = whole(text, $(name));
  return name === "folds" && value === 1 ? 2 : value;
};

/** A side of a model's input from the address; undefined where nobody asks for one. */
function side(text) {
  if (!text) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= LARGEST) return value;
  throw { code: "mismatch", message: `img_size cannot be ${text}: it is a multiple of the side of the model's patches, 12 px for the embedded one, up to ${LARGEST}` };
}

export const settings = {
  device: query.get("device") ?? "auto",
  /** Why this device was asked for. */
  why: "asked for in the address",
  model: query.get("model"),
  /** Side of the input in pixels of that model, if another one than its own is asked for. */
  get imgSize() {
    return side(query.get("img_size"));
  },
  example: query.has("example"),
  ...NUMBERS,
  augment: "crops",
  crops: "five",
  /** Follows the project that is open; there is no field for it. */
  batchSize: BATCH_SIZE,

  /** What decides a run. */
  get chosen() {
    return { ...Object.fromEntries(CHOICES.map((name) => [name, this[name]])), batchSize: this.batchSize };
  },

  get config() {
    return toConfig(this.chosen);
  },

  /** Takes settings from elsewhere; those in the address win. */
  set(values) {
    for (const name of CHOICES) {
      this[name] = possible(name, query.get(name) ?? String(values[name] ?? "")) ?? this[name];
    }
    this.batchSize = values.batchSize ?? this.batchSize;
    this.show();
  },

  /** Takes settings that the page had before. */
  takeBack(chosen) {
    Object.assign(this, chosen);
    this.show();
  },

  show() {
    for (const name of CHOICES) $(name).value = String(this[name]);
    const varied = { none: "", crops: ", pictures cropped", mirrored: ", pictures cropped and mirrored" }[this.augment];
    const batches = this.batchSize === BATCH_SIZE ? "" : ` of ${this.batchSize} pictures`;
    $("settings-line").textContent = `${this.steps} steps${batches}, seed ${this.seed}, ${this.folds} folds${varied}${this.crops === "five" ? ", answers over five crops" : ""}`;
  },
};

/** Settings from before there were others. */
export const FORMER = { augment: "none", crops: "one", batchSize: FORMER_BATCH_SIZE };

/** What the worker is told to learn with. */
export const toConfig = ({ steps, seed, folds, augment, crops, batchSize }) => ({
  train: { num_steps: steps, ...(batchSize === FORMER_BATCH_SIZE ? {} : { batch_size: batchSize }), seed, ...AUGMENTS[augment] }, folds, ...(augment === "none" ? {} : { views: VIEWS }), ...CROPS[crops],
});

/** The settings that gave it. */
export function fromConfig({ train: { num_steps: steps, batch_size: batchSize = FORMER_BATCH_SIZE, seed, augment, mirror }, folds, multi_crop: several }) {
  const varied = (mirror ?? true) ? "mirrored" : "crops";
  return { steps, seed, folds, augment: augment ? varied : "none", crops: several ? "five" : "one", batchSize };
}

/** Whether the page can have these settings: those of another version, in a project, may be others. */
export const isOffered = (config) => JSON.stringify(toConfig(fromConfig(config))) === JSON.stringify(config);

/** Calls back when a person changes a setting; a number that is out of range becomes the nearest, what is none falls back to the last one. */
export function bindSettings(changed) {
  for (const name of CHOICES) {
    $(name).addEventListener("change", () => {
      const typed = $(name).value;
      settings[name] = possible(name, typed) ?? settings[name];
      settings.show();
      if ($(name).value !== typed && (!typed || Number(typed) !== settings[name])) say(`${name} cannot be ${typed || "empty"}: it is ${settings[name]}`);
      changed();
    });
  }
}
