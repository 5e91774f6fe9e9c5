// Which of several results to take, where nobody says: the rule of src/suggestion.rs, which answers the same cases
// (tests/golden/suggestions.json).

/** Where held-out pictures cannot tell: what gained most on other tasks comes first (docs/experiment.md). */
const PREFERENCE = ["learned+lora", "uniform+lora", "uniform-scaled+lora", "learned-scaled", "learned", "learned-free", "uniform-scaled",
  "uniform", "lora", "full", "linear-probe", "lorahub", "best-module", "nearest-mean", "random-modules"];

const CONTROL = "random-modules";

/** Of a held-out accuracy, from its 95 % interval. */
const standardError = ({ held_out_interval: ends }) => (ends ? (ends[1] - ends[0]) / (2 * 1.96) : 0);

/** {method, why: alone | held-out | near | unmeasured, left: methods that could not be compared}; null without results. */
export function suggested(reports) {
  if (!reports.length) return null;
  const rivals = reports.filter((own) => own.method !== CONTROL || reports.length === 1);
  const measured = rivals.filter((own) => own.held_out_accuracy !== null);
  const candidates = (measured.length ? measured : rivals).toSorted((one, other) => PREFERENCE.indexOf(one.method) - PREFERENCE.indexOf(other.method));
  const highest = Math.max(...candidates.map((own) => own.held_out_accuracy ?? 0));
  const best = candidates.find((own) => (own.held_out_accuracy ?? 0) === highest);
  const taken = candidates.find((own) => (own.held_out_accuracy ?? 0) >= highest - standardError(best));
  const why = taken.held_out_accuracy === highest ? "held-out" : "near";
  const left = rivals.filter((own) => !candidates.includes(own)).map((own) => own.method);
  return { method: taken.method, left, why: reports.length === 1 ? "alone" : measured.length ? why : "unmeasured" };
}
