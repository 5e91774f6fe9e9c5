// Checks of JSON that comes from outside: each takes a value and the name of its field, and throws [`Wrong`] with that name.

/** A field that is not what the page reads. */
export class Wrong {
  constructor(field) {
    this.field = field;
  }
}

export const must = (right, field) => {
  if (!right) throw new Wrong(field);
};
export const text = (value, field) => must(typeof value === "string" && value !== "", field);
export const flag = (value, field) => must(typeof value === "boolean", field);
export const number = (value, field) => must(Number.isFinite(value), field);
export const isWhole = (value) => Number.isSafeInteger(value) && value >= 0;
export const whole = (value, field) => must(isWhole(value), field);
const isList = (value, length) => Array.isArray(value) && (length === undefined || value.length === length);
/** There can be thousands of numbers: their list is named as a whole. */
export const row = (right, length) => (value, field) => must(isList(value, length) && value.every(right), field);
export const list = (check, length) => (value, field) => {
  must(isList(value, length), field);
  value.forEach((own, index) => check(own, `${field}[${index}]`));
};
export const record = (checks) => (value, field) => {
  must(typeof value === "object" && value !== null && !Array.isArray(value), field);
  for (const [name, check] of Object.entries(checks)) check(value[name], field ? `${field}.${name}` : name);
};
export const optional = (check) => (value, field) => value === undefined || value === null || check(value, field);

/** The JSON of a file as `check` gives it; `bad` makes an error of a reason, and `remedy` says what to do about a field that is wrong. */
export async function parsed(name, file, check, { bad, remedy }) {
  let value;
  try {
    value = JSON.parse(await file.text());
  } catch {
    throw bad(`${name} is not JSON`);
  }
  try {
    return check(value, bad);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    throw bad(`${name}: ${error.field || "its content"} is missing or of another kind; ${remedy}`);
  }
}
