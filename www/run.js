// The middle column: which methods run, how they are doing, and what came out.
import { Lines } from "./charts.js";
import { $, element, fail, percent, say } from "./dom.js";
import { METHODS, method } from "./methods.js";

export class Run {
  #engine;
  #classes;
  #composition;
  #settings;
  #done;
  #lines = new Lines();
  #rows = new Map();
  #queue = Promise.resolve();
  #asked = 0;
  #wasStopped = false;
  state = "off"; // off | idle | quick | running | paused | stopping
  /** Reports of the last runs, by method. */
  reports = new Map();
  /** Settings that the reports were computed with. */
  config = null;

  constructor(engine, classes, composition, settings, done) {
    this.#engine = engine;
    this.#classes = classes;
    this.#composition = composition;
    this.#settings = settings;
    this.#done = done;
    engine.onRun = (value) => this.#event(value);
    $("start").addEventListener("click", () => this.start());
    $("pause").addEventListener("click", () => this.#flow(this.state === "paused" ? "go" : "pause"));
    $("stop").addEventListener("click", () => this.#flow("stop"));
    addEventListener("resize", () => this.#lines.resize());
  }

  /** The method list; those that compose need modules. */
  setModules(count, wanted = this.chosen) {
    const first = !document.querySelector("#methods input");
    const hadModules = !$("method-uniform")?.disabled;
    $("methods").replaceChildren(...METHODS.map((own) => {
      const possible = !own.modules || count > 0;
      const box = element("input", { type: "checkbox", id: `method-${own.name}`, "data-testid": `method-${own.name}`, onchange: () => this.refresh() });
      const on = first || (own.modules && !hadModules) ? own.on || wanted.includes(own.name) : wanted.includes(own.name);
      box.checked = Boolean(on && possible);
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
    if (this.state === "off") return "wait until the model is loaded";
    if (!["idle", "quick"].includes(this.state)) return "methods are running";
    if (this.#classes.reading) return "wait until all pictures are read";
    if (this.#classes.list.length < 2) return "add at least two classes";
    const empty = this.#classes.list.find((own) => !own.pictures.length);
    if (empty) return `add pictures to “${empty.name}”`;
    if (!this.chosen.length) return "choose a method";
    return "";
  }

  refresh() {
    const reason = this.obstacle;
    const idle = ["off", "idle", "quick"].includes(this.state);
    $("start").disabled = Boolean(reason);
    $("why").textContent = reason && idle ? `To start, ${reason}.` : "";
    $("pause").hidden = $("stop").hidden = idle;
    $("stop").disabled = this.state === "stopping";
    $("pause").disabled = this.state === "stopping";
    $("pause").textContent = this.state === "paused" ? "Resume" : "Pause";
  }

  setState(state) {
    this.state = state;
    this.refresh();
  }

  /** Results that need a run of their own are out of date; the quick ones follow the pictures by themselves. */
  stale() {
    const trained = [...this.reports.keys()].some((name) => !method(name).quick);
    if (trained && ["idle", "quick"].includes(this.state)) $("stale").hidden = false;
  }

  /** Nearest mean and linear probe as soon as pictures are in: their features are cached, nothing trains. */
  quick() {
    const number = ++this.#asked;
    setTimeout(() => {
      if (number !== this.#asked || this.state !== "idle" || this.obstacle) return;
      const methods = METHODS.filter((own) => own.quick && this.chosen.includes(own.name)).map((own) => own.name);
      if (methods.length) this.#run(methods, "quick").catch(fail);
    }, 250);
  }

  async start() {
    if (this.obstacle) return;
    const methods = this.chosen;
    this.#asked += 1;
    await this.#queue;
    if (this.obstacle) return;
    fail(null);
    await this.#run(methods, "running");
  }

  #run(methods, state) {
    this.#queue = this.#work(methods, state);
    return this.#queue;
  }

  async #work(methods, state) {
    const part = (kind) => this.#classes.list.map((own) => ({ name: own.name, pictures: own[kind].map((picture) => picture.id) }));
    const config = { train: { num_steps: this.#settings.steps, seed: this.#settings.seed }, folds: this.#settings.folds };
    const version = this.#classes.version;
    this.#wasStopped = false;
    this.setState(state);
    this.#begin(methods, state);
    say(state === "quick" ? "looking at your pictures" : "adapting");
    try {
      if (state === "running") await this.#engine.forget();
      await this.#engine.adapt({ methods, train: part("pictures"), test: part("test"), config });
      this.config = config;
      say(this.#wasStopped ? "stopped" : state === "quick" ? "first answers are in" : "done");
    } catch (error) {
      if (error.code !== "restarted") fail(error);
      say("stopped");
    }
    if (this.state !== "off") this.setState("idle");
    const moved = version !== this.#classes.version;
    if (state === "running") $("stale").hidden = !moved;
    if (moved) this.quick();
    await this.#done();
  }

  async #flow(flow) {
    this.#wasStopped = flow === "stop";
    this.setState({ pause: "paused", stop: "stopping", go: "running" }[flow]);
    say({ pause: "paused", stop: "stopped; measuring what was learned", go: "adapting" }[flow]);
    await this.#engine.flow(flow);
  }

  #begin(methods, state) {
    $("results").hidden = false;
    if (state === "running") {
      const trained = methods.filter((name) => method(name).steps);
      $("lines").hidden = !trained.length;
      this.#lines.begin(trained);
      this.#composition.begin();
      this.reports.clear();
      this.#rows.clear();
    }
    for (const name of methods) if (!this.#rows.has(name)) this.#rows.set(name, this.#row(name));
    for (const name of methods) this.#rows.get(name).state.value = 0;
    this.#draw();
  }

  #row(name) {
    return {
      state: element("progress", { max: 1, value: 0, "data-testid": "progress", "aria-label": `${method(name).label}: progress` }),
      test: element("td", { "data-testid": `accuracy-${name}` }, "–"),
      held: element("td", { "data-testid": `held-out-${name}` }, "–"),
      parameters: element("td", {}, "–"),
    };
  }

  #draw() {
    const known = METHODS.filter((own) => this.#rows.has(own.name));
    $("rows").replaceChildren(...known.map(({ name, color, label }) => {
      const cells = this.#rows.get(name);
      return element("tr", {},
        element("th", { scope: "row" }, element("span", { class: "dot", style: { background: color } }), label, cells.state),
        cells.test, cells.held, cells.parameters);
    }));
  }

  #event({ type, progress, report, method: stopped }) {
    if (type === "done") return this.finish(report);
    if (type === "stopped") {
      this.#rows.get(stopped)?.test.replaceChildren("stopped");
      return;
    }
    const cells = this.#rows.get(progress.method);
    if (!cells) return;
    if (progress.phase === "step") {
      cells.state.value = (0.6 * progress.step) / progress.num_steps;
      this.#lines.add(progress.method, progress.step, progress.loss, progress.accuracy);
      if (progress.coefficients) this.#composition.show(progress.method, progress.coefficients, false);
    } else if (progress.phase === "fold") {
      cells.state.value = 0.6 + (0.3 * progress.fold) / Math.max(1, progress.num_folds);
    } else {
      cells.state.value = 0.95;
    }
  }

  /** A method's report, from a run or from the last visit. */
  finish(report) {
    this.reports.set(report.method, report);
    if (!this.#rows.has(report.method)) {
      this.#rows.set(report.method, this.#row(report.method));
      this.#draw();
    }
    $("results").hidden = false;
    const cells = this.#rows.get(report.method);
    cells.state.value = 1;
    cells.test.replaceChildren(percent(report.test_accuracy), range(report.test_interval));
    cells.held.replaceChildren(percent(report.loo_accuracy), range(report.loo_interval));
    cells.parameters.textContent = report.trainable_parameters.toLocaleString("en");
    $("honest").textContent = honest(report, this.#classes.count);
    if (report.coefficients) this.#composition.show(report.method, report.coefficients, true);
  }
}

const range = (interval) => (interval ? element("small", {}, ` ${Math.round(100 * interval[0])}–${Math.round(100 * interval[1])}`) : "");

function honest(report, images) {
  if (report.loo_accuracy === null) {
    return "Nothing can be held out with one picture per class: add pictures, or test pictures, to measure accuracy.";
  }
  return `The small numbers are 95 % intervals. Held-out accuracy comes from ${images} pictures${images < 40 ? ": too few to tell methods apart unless they differ by a lot" : ""}.`;
}
