// What methods say of one picture, as lines with bars.
import { element, percent } from "./dom.js";
import { METHODS, method } from "./methods.js";

/** What stands where answers will come. */
export const NOBODY_YET = "The methods answer here once every class has pictures.";

/** The order of the table; a mix of one's own comes last. */
export function inOrder(answers) {
  const place = ({ method: name }) => (METHODS.findIndex((own) => own.name === name) + METHODS.length + 1) % (METHODS.length + 1);
  return answers.toSorted((a, b) => place(a) - place(b));
}

/** What one method says: {item, answer, value, fill, best}; whether it is sure comes with the threshold. */
export function line(name, best) {
  const { color, label } = method(name);
  const [answer, value] = [element("span", { class: "answer" }), element("span")];
  const fill = element("span", { class: "fill" });
  const item = element("li", { "data-testid": "prediction", "data-method": name, style: { "--own": color } },
    element("span", { class: "dot", style: { background: color } }),
    element("span", { class: "bar-name" }, label),
    element("span", { class: "answer-line" }, answer, value),
    element("span", { class: "bar" }, fill, element("span", { class: "at" })));
  const own = { item, answer, value, fill };
  tell(own, best);
  return own;
}

/** A line's next answer. */
export function tell(own, best) {
  own.item.dataset.label = best.label;
  own.item.dataset.probability = String(best.probability);
  own.value.textContent = percent(best.probability);
  own.fill.style.width = `${100 * best.probability}%`;
  own.best = best;
  own.sure = undefined;
}

/** Says whether a line's answer is sure enough; what else moves with the threshold is the style sheet's. */
export function judge(own, threshold) {
  const { answer, best } = own;
  const sure = best.probability >= threshold;
  if (sure === own.sure) return;
  own.sure = sure;
  answer.classList.toggle("unsure", !sure);
  answer.title = sure ? best.label : `not sure; most likely ${best.label}`;
  answer.textContent = sure ? best.label : "not sure";
}
