// Names, words, colours and line styles of the methods, in the order of the table.
export const METHODS = [
  { name: "nearest-mean", label: "Nearest mean", hint: "no training: the closest class average", color: "var(--m1)", on: true, quick: true },
  { name: "linear-probe", label: "Linear probe", hint: "a linear head on the frozen model", color: "var(--m2)", on: true, quick: true },
  { name: "uniform", label: "Uniform", hint: "the mean of all modules, and a head", color: "var(--m3)", on: true, modules: true },
  { name: "learned", steps: true, label: "Learned", hint: "a trained weight per module and layer", color: "var(--m4)", dash: [], on: true, modules: true },
  { name: "lora", steps: true, label: "LoRA from scratch", hint: "a fresh low-rank update", color: "var(--m5)", dash: [7, 3], on: true },
  { name: "uniform+lora", steps: true, label: "Uniform + LoRA", hint: "a fresh LoRA on top of the mean", color: "var(--m10)", dash: [11, 4], on: true, modules: true },
  { name: "uniform-scaled", label: "Uniform, scaled", hint: "the mean, as strong as held-out pictures prefer", color: "var(--m13)", modules: true },
  { name: "learned-scaled", steps: true, label: "Learned, scaled", hint: "trained weights and how strong they are", color: "var(--m14)", dash: [5, 2, 2, 2], modules: true },
  { name: "learned-free", steps: true, label: "Learned, free", hint: "signed weights of any size", color: "var(--m6)", dash: [2, 3], modules: true },
  { name: "uniform-scaled+lora", steps: true, label: "Uniform, scaled + LoRA", hint: "a fresh LoRA on top of the scaled mean", color: "var(--m15)", dash: [11, 3, 5, 3], modules: true },
  { name: "learned+lora", steps: true, label: "Learned + LoRA", hint: "module weights and a fresh LoRA together", color: "var(--m11)", dash: [9, 3, 2, 3], modules: true },
  { name: "best-module", label: "Best module", hint: "the one module that held-out pictures prefer", color: "var(--m7)", modules: true },
  { name: "lorahub", label: "LoraHub", hint: "weights found without gradients", color: "var(--m12)", modules: true },
  { name: "random-modules", steps: true, label: "Random modules", hint: "the control: noise instead of modules", color: "var(--m8)", dash: [4, 4], modules: true },
  { name: "full", steps: true, label: "Full fine-tuning", hint: "every weight of the model", color: "var(--m9)", dash: [2, 2], modules: false },
];

const MIXED = { name: "mixed", label: "Your mix", color: "var(--ink)" };

export const method = (name) =>
  name === "mixed" ? MIXED : (METHODS.find((known) => known.name === name) ?? { name, label: name, color: "var(--ink)" });
