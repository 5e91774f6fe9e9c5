// Small helpers for elements.
export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") for (const [key, own] of Object.entries(value)) node.style.setProperty(key, own); // the CSP allows no style attributes
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An SVG element from attributes. */
export function drawing(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const percent = (value, digits = 0) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);

/** The colours of the theme that shows now. */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name.replace(/^var\((.*)\)$/, "$1")).trim();

/** Calls back when the theme changes, for what was painted with its colours. */
export const onTheme = (change) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", change);

/** Parts of a long wait after which screen readers are told again. */
const TELL_EVERY = 0.25;
/** What other words replace sooner, in milliseconds, screen readers are not told: they would read all of it, long after. */
const TELL_AFTER = 400;
/** So long something stands at the top that is said beside a run, in milliseconds. */
const SAID_BESIDE = 4000;
let toldShare = 0;
let telling = 0;
/** How the run is that goes on; empty without one. */
let standing = "";
let givingWay = 0;

/** Writes into an element that screen readers are told of, which would tell the same words again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a line at the top and tells screen readers; `share` is how much of a download or of reading is done, which is
 *  shown as often as it comes and told now and then. What is said beside a run gives way to how that is. */
export function say(text, share) {
  $("status").textContent = text;
  clearTimeout(givingWay);
  if (share === undefined) givingWay = setTimeout(() => standing && ($("status").textContent = standing), SAID_BESIDE);
  $("loading").hidden = share === undefined;
  $("loading").value = share ?? 0;
  if (share !== undefined && share >= toldShare && share < toldShare + TELL_EVERY && toldShare) return;
  toldShare = share === undefined ? 0 : share || Number.EPSILON;
  clearTimeout(telling);
  telling = setTimeout(() => ($("told").textContent = text), TELL_AFTER);
}

/** Says how a run is, which stands there again after other words until something else does; nothing stands any more after an empty text. */
export function stand(text) {
  standing = text;
  if (text) say(text);
}

/** How many errors of a list are told by name. */
const NAMED = 4;

/** Several errors in one line, which stays short. */
export function listed(errors) {
  const more = errors.length - NAMED;
  return [...errors.slice(0, NAMED), ...(more > 0 ? [`and ${more} more`] : [])].join(" · ");
}

/** What is wrong with files, [[name, reason]], as errors: one for all that have the same reason. */
export function sameReasons(wrong) {
  const names = new Map();
  for (const [name, reason] of wrong) {
    const own = reason.startsWith(`${name}: `) ? reason.slice(name.length + 2) : reason;
    names.set(own, [...(names.get(own) ?? []), name]);
  }
  return [...names].map(([reason, own]) => `${own.slice(0, NAMED).join(", ")}${own.length > NAMED ? ` and ${own.length - NAMED} more` : ""}: ${reason}`);
}

/** Shows an error next to those that nobody has dismissed yet; null takes all of them away. */
export function fail(error) {
  const box = $("error");
  const words = box.querySelector("span");
  const text = error ? (error.message ?? String(error)) : "";
  const before = error && !box.hidden ? words.textContent : "";
  box.hidden = !error;
  if (!before.includes(text)) words.textContent = before ? `${before} · ${text}` : text;
  else if (!before) words.textContent = text;
}

/** Takes files that are dropped on an element: their entries, and the plain files. */
export function acceptDrops(target, take) {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", (event) => {
    if (!target.contains(event.relatedTarget)) target.classList.remove("over");
  });
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    take(event, entries, [...event.dataTransfer.files]);
  });
}
