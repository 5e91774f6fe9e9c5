// The middle column: which methods run, how they are doing, and what came out.
import { Lines } from "./charts.js";
import { Chooser } from "./chooser.js";
import { $, fail, say, stand } from "./dom.js";
import { Findings, UNTESTED, counts, ofTests } from "./findings.js";
import { lacking } from "./lacking.js";
import { Launch, isIdle } from "./launch.js";
import { method } from "./methods.js";
import { LOST } from "./protocol.js";
import { Results } from "./results.js";

const QUICK_AFTER = 250;
/** Why nothing can start before a model is open. */
const LOADING = "wait until the model is loaded";

export class Run {
  #engine;
  #classes;
  #composition;
  #settings;
  #done;
  #libraryChanges;
  #learned;
  #lines = new Lines();
  #results = new Results();
  #chooser = new Chooser((own) => this.#ticked(own));
  #launch = new Launch({ start: () => this.start(), flow: (flow) => this.#flow(flow) });
  #queue = Promise.resolve();
  #asked = 0;
  #wasStopped = false;
  /** Start was pressed, and what ran before has not made room yet. */
  #starting = false;
  /** What the worker has told of this run. */
  #heard = 0;
  /** Why nothing can start while the state is `off`. */
  #off = LOADING;
  /** The last results. */
  found;
  state = "off"; // off | idle | quick | running | paused | stopping
  /** `done` is called after a run, `learned` when one of its methods is at its end; `libraryChanges` says whether modules are on their way in or out. */
  constructor(engine, classes, composition, settings, { done, learned, libraryChanges }) {
    this.#engine = engine;
    this.#classes = classes;
    this.#composition = composition;
    this.#settings = settings;
    this.found = new Findings(classes, settings);
    this.#done = done;
    this.#libraryChanges = libraryChanges;
    this.#learned = learned;
    engine.onRun = (value) => this.#event(value);
    let before = 0;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) before = this.#heard;
      else if (this.state === "running") stand(this.#heard > before ? "adapting; it went on while this tab was hidden" : "adapting; it waited while this tab was hidden, and goes on from the same step");
    });
  }

  /** Whether methods run that a person started. */
  get busy() {
    return !isIdle(this.state);
  }

  /** What there is to compose; those methods that were `wanted` are chosen, or those that are. */
  setModules(modules, wanted) {
    this.found.modules = modules;
    this.#composition.setLibrary(this.found.library);
    this.#chooser.show(modules.length > 0, wanted);
    this.refresh();
  }

  get chosen() {
    return this.#chooser.chosen;
  }

  get config() {
    return this.#settings.config;
  }

  /** Why nothing can start, or an empty string. */
  get obstacle() {
    if (this.state === "off") return this.#off;
    if (!["idle", "quick"].includes(this.state)) return "methods are running";
    if (this.#classes.reading) return "wait until all pictures are read";
    if (this.#libraryChanges()) return "wait until the library has changed";
    return lacking(this.#classes.list) || (this.chosen.length ? "" : "choose a method");
  }

  refresh() {
    const reason = this.obstacle;
    const idle = isIdle(this.state);
    this.#launch.show(this.state, reason, this.busy ? this.#moved : []);
    $("waiting").hidden = !$("results").hidden;
    this.#chooser.count();
    // Quick methods answer again by themselves, unless something is in the way.
    const { chosen } = this;
    const { untested } = this.found;
    const byItself = (name) => untested.includes(name) || (method(name).quick && chosen.includes(name) && (!reason || this.#classes.reading));
    const old = [...this.found.keys()].filter((name) => !this.found.fresh(name));
    $("stale").hidden = !idle || old.every(byItself);
    // Other test pictures change no answer.
    $("try-stale").hidden = !idle || old.every((name) => this.found.learned(name) || byItself(name));
    for (const name of this.found.keys()) this.#results.age(name, old.includes(name));
    this.#results.tell(this.found.current, counts(this.#classes.list), this.found.suggestion);
    const silent = [...this.found.values()].some(({ report, live }) => !live && !method(report.method).quick);
    $("try-silent").hidden = !silent || !$("stale").hidden || !idle;
    // The worker takes modules only when nothing runs.
    $("add-module").disabled = !idle;
    $("library").inert = $("library-removed").inert = !idle || this.state === "off";
  }

  /** What the page shows otherwise than the run that is on has it. */
  get #moved() {
    const others = this.chosen.join() !== this.#methods.join();
    return [...this.found.moved(this.#context), ...(others ? ["methods"] : [])];
  }

  /** A method was ticked, or not any more; first answers that are missing or old come by themselves. */
  #ticked({ name, quick }) {
    this.refresh();
    if (quick && !this.found.fresh(name)) this.quick();
  }

  /** `off` is why nothing can start, where no model is open. */
  setState(state, off = LOADING) {
    this.state = state;
    this.#off = off;
    if (isIdle(state)) stand("");
    this.refresh();
  }

  /** Nearest mean and linear probe as soon as pictures are in: their features are cached, nothing trains. What was trained before is measured
   *  on test pictures as they come and go. */
  quick() {
    const number = ++this.#asked;
    setTimeout(() => {
      if (number !== this.#asked || this.state !== "idle" || this.#starting || this.#classes.reading) return;
      const methods = this.obstacle ? [] : this.#quickOnes;
      if (methods.length || this.found.untested.length) this.#run(methods, "quick");
    }, QUICK_AFTER);
  }

  async start() {
    if (this.#starting) return;
    if (this.obstacle) return say(`not started yet: ${this.obstacle}`);
    const methods = this.chosen;
    this.#asked += 1;
    this.#starting = true;
    say("starting");
    // The first answers make room; what they have looked at is kept for this run.
    await this.#makeRoom().finally(() => (this.#starting = false));
    // Pictures may have begun to come in meanwhile.
    if (this.obstacle) return say(`not started yet: ${this.obstacle}`);
    fail(null);
    const hadFocus = document.activeElement === $("start");
    const done = this.#run(methods, "running");
    // The button that was pressed makes room for these.
    if (hadFocus) $("pause").focus();
    await done;
  }

  get #quickOnes() {
    return this.chosen.filter((name) => method(name).quick);
  }

  #run(methods, state) {
    this.#queue = this.#work(methods, state).catch(fail);
    return this.#queue;
  }

  async #work(methods, state) {
    const begun = this.found.shown;
    const { config } = this;
    this.#wasStopped = false;
    const live = this.found.live.filter((name) => this.found.learned(name));
    const gone = [...this.found.keys()].filter((name) => !live.includes(name));
    [this.#context, this.#methods] = [this.found.now, methods];
    this.setState(state);
    // Before a person can press anything: what was said to the last run does not hold for this one.
    this.#engine.flow("go").catch(() => {});
    this.#begin(methods, state);
    if (state === "quick") say("looking at your pictures");
    else stand("adapting");
    const untested = state === "quick" ? this.found.untested.filter((name) => !methods.includes(name)) : [];
    this.#results.expect(untested);
    try {
      // In one breath: a picture that is removed from now on is removed after the run that learns from it.
      const forgotten = state === "running" && this.#forget(gone);
      const adapted = methods.length && this.#engine.adapt({ methods, train: this.#part("pictures"), test: this.#part("test"), config });
      await Promise.all([forgotten, adapted]);
      await this.#measure(untested);
      if (state === "running") say(this.#wasStopped ? "stopped" : "done");
      else if (!this.#wasStopped) say(methods.length ? "first answers are in" : "measured on the test pictures");
    } catch (error) {
      // A restart tells its own story.
      if (error.code !== "restarted") {
        fail(error);
        say("stopped");
      }
    }
    [...methods, ...untested].forEach((name) => this.#results.rest(name));
    if (this.state !== "off") this.setState("idle");
    const ticked = this.#quickOnes.some((name) => !methods.includes(name) && !this.found.fresh(name));
    if (ticked || begun !== this.found.shown || (state === "running" && this.found.untested.length)) this.quick();
    await this.#done();
  }

  /** The pictures of every class, as the worker knows them. */
  #part(kind) {
    return this.#classes.list.map((own) => ({ name: own.name, pictures: own[kind].map((picture) => picture.id) }));
  }

  /** Measures results on the test pictures of now. */
  async #measure(methods) {
    for (const name of methods) {
      const own = this.found.get(name);
      // Stop was said, or something has taken its place meanwhile.
      if (this.#wasStopped || !own?.live) continue;
      const { testing } = this.found;
      const measured = testing.tested.length ? await this.#tested(name) : (own.there ?? UNTESTED);
      if (!measured || this.found.get(name) !== own) continue;
      // What a saved task says of itself stands again where nothing is measured here.
      if (own.report.opened && !own.report.here) own.there = ofTests(own.report);
      const here = testing.tested.length > 0;
      Object.assign(own, testing, { report: { ...own.report, ...measured, here }, unsaved: here || !own.there });
      this.#show(own);
    }
  }

  /** How a result does on the test pictures; nothing if that was stopped. One that fails leaves the others. */
  async #tested(name) {
    try {
      return await this.#engine.test(name, this.#part("test"));
    } catch (error) {
      if (LOST.includes(error.code)) throw error;
      this.#failed(name, error.message ?? String(error));
      return UNTESTED;
    }
  }

  /** What classes are called now is what answers say, and what is saved; says whether another name came. */
  async rename() {
    let renamed = false;
    for (const [name, own] of this.found) {
      const names = own.owns.map((known) => known.name);
      if (!own.live || JSON.stringify(names) === JSON.stringify(own.names)) continue;
      Object.assign(own, { names, unsaved: true });
      // It may be gone by now, and what takes its place has the names of then.
      renamed = (await this.#engine.rename(name, names).then(() => true, () => false)) || renamed;
    }
    return renamed;
  }

  async #flow(flow) {
    this.#wasStopped = flow === "stop";
    const hadFocus = this.#launch.hasFocus;
    this.setState({ pause: "paused", stop: "stopping", go: "running" }[flow]);
    if (hadFocus && flow === "stop") $("results-region").focus();
    if (flow === "stop") {
      this.#results.stopping();
      stand("stopping");
    }
    // A worker that failed meanwhile has nothing to say; the next one begins with nothing.
    const heard = await this.#engine.flow(flow).then(() => true, () => false);
    // The worker has heard it: nothing trains any more, or again.
    if (heard && this.state === { pause: "paused", stop: "stopping", go: "running" }[flow]) stand({ pause: "paused", stop: "stopped; measuring what was learned", go: "adapting" }[flow]);
  }

  /** Ends what runs, before something takes its place. */
  async settle() {
    this.#asked += 1;
    if (["running", "paused"].includes(this.state)) await this.#flow("stop");
    await this.#makeRoom();
  }

  /** Ends the first answers, if they are on their way, and waits for what runs. */
  async #makeRoom() {
    if (this.state === "quick") {
      this.#wasStopped = true;
      this.#engine.flow("stop").catch(() => {});
    }
    await this.#queue;
  }

  /** What was learned from other pictures, or with other settings, answers no more; its numbers stay until there are new ones. */
  async #forget(methods) {
    this.found.lose(methods);
    this.#composition.freeze(methods);
    await this.#engine.forget(methods);
  }

  /** What the run that is on has begun with. */
  #context = {};
  #methods = [];

  #begin(methods, state) {
    $("results").hidden = false;
    if (state === "running") {
      const trained = methods.filter((name) => method(name).steps);
      const { images, heldOut } = counts(this.#classes.list);
      this.#launch.begin(methods, { images, folds: Math.min(heldOut, this.config.folds), batchSize: this.#settings.batchSize, onGpu: this.#engine.onGpu });
      $("lines").hidden = !trained.length;
      this.#lines.begin(trained);
      $("saving").hidden = true; // Until the worker has what it will have.
      this.#drop([...this.found.keys()].filter((name) => !this.found.learned(name) && !methods.includes(name)));
    }
    this.#results.expect(methods);
    this.refresh();
  }

  #event(event) {
    const { type, progress, report, method: stopped, message } = event;
    this.#launch.hear(event);
    if (type === "done") {
      this.#finish(report, this.#context, true);
      return this.#learned();
    }
    this.#heard += 1;
    // Not an animation: drawing sixty frames a second takes time from methods that train on the same cores.
    $("pulse").classList.toggle("beat");
    if (type === "stopped") return this.#results.stopped(stopped);
    if (type === "failed") return this.#failed(stopped, message);
    if (progress.phase === "step") {
      this.#lines.add(progress.method, progress.step, progress.loss, progress.accuracy);
      if (progress.coefficients) this.#composition.show(progress.method, progress.coefficients, false);
    }
    return this.#results.progress(progress);
  }

  /** One method has an error of its own; the others go on. */
  #failed(name, message) {
    this.#results.failed(name);
    fail({ message: `${method(name).label}: ${message}` });
  }

  /** Results that nothing will replace. */
  #drop(methods) {
    for (const name of methods) {
      this.found.delete(name);
      this.#results.drop(name);
      this.#composition.drop(name);
    }
  }

  #finish(report, context, live) {
    const own = { ...context, report, live };
    this.found.set(report.method, own);
    $("results").hidden = false;
    this.#show(own);
    if (report.coefficients) this.#composition.show(report.method, report.coefficients, true, live);
  }

  #show({ report }) {
    // First, because a row that ages is known already, and only a new one is drawn.
    this.#results.finish(report);
    this.#results.age(report.method, !this.found.fresh(report.method));
  }

  /** Results of the last visit or of a project: they show, and answer again once the worker has them, or after a new run. */
  restore(results) {
    for (const { report, names, fresh, tested = fresh, config, adapter } of results) {
      const owns = names.map((name) => this.#classes.list.find((own) => own.name === name) ?? { name, pictures: [], test: [] });
      const data = fresh ? this.found.data(report) : "";
      const testing = tested ? {} : { tested: [], tests: "" };
      // What the worker will call the classes says the adapter, not the page.
      this.#finish(report, { ...this.found.now, data, ...testing, names: [], owns, counts: counts(owns), config, adapter }, false);
    }
    this.refresh();
  }

  /** Nothing of what was learned answers any more. */
  clear() {
    const { live } = this.found;
    if (live.length) this.#engine.forget(live).catch(() => {});
    $("saving").hidden = true;
    this.found.clear();
    this.#results.clear();
    this.#composition.clear();
    $("results").hidden = $("lines").hidden = true;
    this.refresh();
  }

  /** The worker was replaced: what it had learned is gone, what it reported is not. */
  lostWorker() {
    this.#composition.freeze([...this.found.keys()]);
    this.found.lose([...this.found.keys()]);
    for (const name of this.found.keys()) this.#results.rest(name);
  }
}
