// Which of several results to take, where nobody says: the rule of src/suggestion.rs, which answers the same cases
// (tests/golden/suggestions.json).

/** Of equals, and where nothing was held out: what gained most on other tasks comes first (docs/experiment.md). */
const PREFERENCE = ["learned+lora", "uniform+lora", "uniform-scaled+lora", "learned-scaled", "learned", "learned-free", "uniform-scaled",
  "uniform", "lora", "full", "linear-probe", "lorahub", "best-module", "nearest-mean", "random-modules"];

const CONTROL = "random-modules";

/** Whether the first of two results is the one to take. */
function isBetter(one, other) {
  const rank = ({ method, held_out_accuracy: held }) => [method !== CONTROL, held ?? -1, -PREFERENCE.indexOf(method)];
  const [own, its] = [rank(one), rank(other)];
  const at = own.findIndex((value, index) => value !== its[index]);
  return at >= 0 && own[at] > its[at];
}

/** {method, why: alone | held-out | tied | unmeasured, others: how many have the same accuracy}; null without results. */
export function suggested(reports) {
  if (!reports.length) return null;
  const best = reports.reduce((found, own) => (isBetter(own, found) ? own : found));
  const { method, held_out_accuracy: held } = best;
  const others = reports.filter((own) => own !== best && own.method !== CONTROL && own.held_out_accuracy === held).length;
  if (reports.length === 1) return { method, why: "alone", others: 0 };
  if (held === null) return { method, why: "unmeasured", others: 0 };
  return { method, why: others ? "tied" : "held-out", others };
}
