// The middle column: which methods run, how they are doing, and what came out.
import { drawComposition, Lines, whatHelped } from "./charts.js";
import { $, element, fail, percent, say } from "./dom.js";
import { METHODS, method } from "./methods.js";

export class Run {
  #engine;
  #classes;
  #settings;
  #done;
  #lines = new Lines();
  #rows = new Map();
  #hasModules = false;
  state = "idle"; // idle | running | paused

  constructor(engine, classes, settings, done) {
    this.#engine = engine;
    this.#classes = classes;
    this.#settings = settings;
    this.#done = done;
    engine.onRun = (value) => this.#event(value);
    $("start").addEventListener("click", () => this.start());
    $("pause").addEventListener("click", () => this.#flow(this.state === "paused" ? "go" : "pause"));
    $("stop").addEventListener("click", () => this.#flow("stop"));
    addEventListener("resize", () => this.#lines.resize());
  }

  /** The method list; those that compose need modules. */
  setModules(modules) {
    this.#hasModules = modules.length > 0;
    $("methods").replaceChildren(...METHODS.map((own) => {
      const possible = !own.modules || this.#hasModules;
      const box = element("input", { type: "checkbox", id: `method-${own.name}`, "data-testid": `method-${own.name}`, onchange: () => this.refresh() });
      box.checked = Boolean(own.on && possible);
      box.disabled = !possible;
      return element("li", { class: possible ? "" : "off" },
        element("label", {}, box, element("span", { class: "dot", style: { background: own.color } }),
          element("span", {}, element("strong", {}, own.label), element("small", {}, possible ? own.hint : "needs LoRA modules"))));
    }));
    this.refresh();
  }

  get chosen() {
    return METHODS.filter((own) => $(`method-${own.name}`)?.checked).map((own) => own.name);
  }

  /** Why nothing can start, or an empty string. */
  get obstacle() {
    const filled = this.#classes.list.filter((own) => own.pictures.length > 0);
    if (this.state !== "idle") return "methods are running";
    if (this.#classes.reading) return "wait until all pictures are read";
    if (this.#classes.list.length < 2) return "add at least two classes";
    if (filled.length < this.#classes.list.length) return `“${this.#classes.list.find((own) => !own.pictures.length).name}” has no pictures yet`;
    if (!this.chosen.length) return "choose a method";
    return "";
  }

  refresh() {
    const reason = this.obstacle;
    $("start").disabled = Boolean(reason);
    $("why").textContent = reason && this.state === "idle" ? `To start, ${reason}.` : "";
    $("pause").hidden = $("stop").hidden = this.state === "idle";
    $("pause").textContent = this.state === "paused" ? "Resume" : "Pause";
  }

  stale() {
    if (this.#rows.size && this.state === "idle") $("stale").hidden = false;
  }

  async start() {
    if (this.obstacle) return;
    const methods = this.chosen;
    const part = (kind) => this.#classes.list.map((own) => ({ name: own.name, pictures: own[kind].map((picture) => picture.id) }));
    const config = { train: { num_steps: this.#settings.steps, seed: this.#settings.seed }, folds: this.#settings.folds };
    this.state = "running";
    $("stale").hidden = true;
    fail(null);
    this.#begin(methods);
    say("adapting");
    try {
      await this.#engine.adapt({ methods, train: part("pictures"), test: part("test"), config });
      say("done");
    } catch (error) {
      fail(error);
      say("stopped");
    }
    this.state = "idle";
    this.refresh();
    this.#done();
  }

  async #flow(flow) {
    this.state = flow === "pause" ? "paused" : "running";
    this.refresh();
    say(flow === "pause" ? "paused" : flow === "stop" ? "stopping" : "adapting");
    await this.#engine.flow(flow);
  }

  #begin(methods) {
    this.refresh();
    $("results").hidden = false;
    this.#lines.begin(methods.filter((name) => method(name).steps));
    this.#rows.clear();
    $("rows").replaceChildren(...methods.map((name) => {
      const cells = {
        state: element("progress", { max: 1, value: 0, "data-testid": "progress", "aria-label": `${name} progress` }),
        test: element("td", { "data-testid": `accuracy-${name}` }, "–"),
        held: element("td", {}, "–"),
        parameters: element("td", {}, "–"),
      };
      this.#rows.set(name, cells);
      return element("tr", {},
        element("th", { scope: "row" }, element("span", { class: "dot", style: { background: method(name).color } }), method(name).label),
        element("td", {}, cells.state), cells.test, cells.held, cells.parameters);
    }));
    $("composition").replaceChildren();
    $("helped").textContent = "";
    $("composed").hidden = !methods.includes("learned");
  }

  #event({ type, progress, report }) {
    if (type === "done") return this.#finish(report);
    const cells = this.#rows.get(progress.method);
    if (!cells) return;
    if (progress.phase === "step") {
      cells.state.value = (0.6 * progress.step) / progress.num_steps;
      this.#lines.add(progress.method, progress.step, progress.loss, progress.accuracy);
      if (progress.coefficients && progress.method === "learned") drawComposition($("composition"), progress.coefficients);
    } else if (progress.phase === "fold") {
      cells.state.value = 0.6 + (0.3 * progress.fold) / Math.max(1, progress.num_folds);
    } else {
      cells.state.value = 0.95;
    }
  }

  #finish(report) {
    const cells = this.#rows.get(report.method);
    if (!cells) return;
    cells.state.value = 1;
    cells.test.textContent = percent(report.test_accuracy);
    const interval = report.loo_interval;
    cells.held.replaceChildren(percent(report.loo_accuracy), interval ? element("small", {}, ` ${Math.round(100 * interval[0])}–${Math.round(100 * interval[1])}`) : "");
    cells.parameters.textContent = report.trainable_parameters.toLocaleString();
    const images = this.#classes.count;
    $("honest").textContent = report.loo_accuracy === null
      ? "With one picture per class nothing can be held out: add pictures, or test pictures, to measure accuracy."
      : `Held-out accuracy comes from ${images} pictures; the small numbers are its 95 % interval${images < 40 ? ", which is wide: differences inside it mean little" : ""}.`;
    if (report.method === "learned" && report.coefficients) {
      drawComposition($("composition"), report.coefficients);
      $("helped").textContent = whatHelped(report.coefficients);
    }
  }
}
