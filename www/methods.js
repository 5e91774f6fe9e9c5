// Names, words and colours of the methods, in the order of the table.
export const METHODS = [
  { name: "nearest-mean", label: "Nearest mean", hint: "no training: the closest class average", color: "var(--m1)", on: true, quick: true },
  { name: "linear-probe", label: "Linear probe", hint: "a linear head on the frozen model", color: "var(--m2)", on: true, quick: true },
  { name: "uniform", label: "Uniform", hint: "the mean of all modules, and a head", color: "var(--m3)", on: true, modules: true },
  { name: "learned", steps: true, label: "Learned", hint: "a trained softmax weight per module and layer", color: "var(--m4)", on: true, modules: true },
  { name: "lora", steps: true, label: "LoRA from scratch", hint: "a fresh low-rank update", color: "var(--m5)", on: true },
  { name: "learned-free", steps: true, label: "Learned, free", hint: "signed weights of any size", color: "var(--m6)", modules: true },
  { name: "uniform+lora", steps: true, label: "Uniform + LoRA", hint: "a fresh LoRA on top of the mean", color: "var(--m10)", modules: true },
  { name: "learned+lora", steps: true, label: "Learned + LoRA", hint: "softmax weights and a fresh LoRA together", color: "var(--m11)", modules: true },
  { name: "best-module", label: "Best module", hint: "the one module that held-out pictures prefer", color: "var(--m7)", modules: true },
  { name: "lorahub", label: "LoraHub", hint: "weights found without gradients", color: "var(--m12)", modules: true },
  { name: "random-modules", steps: true, label: "Random modules", hint: "the control: noise instead of modules", color: "var(--m8)", modules: true },
  { name: "full", steps: true, label: "Full fine-tuning", hint: "every weight", color: "var(--m9)" },
];

const MIXED = { name: "mixed", label: "Your mix", color: "var(--ink)" };

export const method = (name) =>
  name === "mixed" ? MIXED : (METHODS.find((known) => known.name === name) ?? { name, label: name, color: "var(--ink)" });
