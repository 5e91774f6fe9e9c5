// Small helpers for elements.
export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(node.style, value); // the CSP allows no style attributes
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const percent = (value, digits = 0) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);

/** Tells screen readers and shows a line in the header. */
export function say(text) {
  $("status").textContent = text;
}

export function fail(error) {
  const box = $("error");
  box.hidden = !error;
  box.querySelector("span").textContent = error ? (error.message ?? String(error)) : "";
}
