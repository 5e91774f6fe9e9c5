// The table of results: one row per method, with its progress, its accuracies and their intervals.
import { $, element, percent, write } from "./dom.js";
import { interval } from "./heatmap.js";
import { METHODS, method } from "./methods.js";

/** So many held-out pictures tell methods apart that differ by some fifteen points. */
const ENOUGH = 40;

export class Results {
  #rows = new Map();
  #reports = new Map();
  #isStopping = false;

  clear() {
    this.#rows.clear();
    this.#reports.clear();
    this.#draw();
    $("honest").textContent = "";
  }

  /** Rows for methods that are about to run. */
  expect(methods) {
    this.#isStopping = false;
    for (const { state, note } of methods.map((name) => this.#row(name))) {
      state.hidden = false;
      state.value = 0;
      // The line that its steps will take: rows below stay where they are.
      note.textContent = "waiting";
    }
    this.#draw();
  }

  #row(name) {
    if (!this.#rows.has(name)) {
      this.#rows.set(name, {
        state: element("progress", { max: 1, value: 0, hidden: true, "data-testid": "progress", "aria-label": `${method(name).label}: progress` }),
        note: element("small", {}),
        test: element("td", { "data-testid": `accuracy-${name}` }, "–"),
        held: element("td", { "data-testid": `held-out-${name}` }, "–"),
        parameters: element("td", {}, "–"),
      });
    }
    return this.#rows.get(name);
  }

  #draw() {
    const known = METHODS.filter((own) => this.#rows.has(own.name));
    $("rows").replaceChildren(...known.map(({ name, color, label }) => {
      const cells = this.#row(name);
      return (cells.row ??= element("tr", { "data-method": name, style: { "--own": color } },
        element("th", { scope: "row" }, element("span", { class: "dot", style: { background: color } }), label, cells.note, cells.state),
        cells.test, cells.held, cells.parameters));
    }));
  }

  progress(progress) {
    const cells = this.#rows.get(progress.method);
    if (!cells) return;
    if (progress.phase === "within" && !method(progress.method).steps) {
      cells.note.textContent = "searching";
    } else if (progress.phase === "step" || progress.phase === "within") {
      cells.state.value = (0.6 * progress.step) / progress.num_steps;
      cells.note.textContent = this.#isStopping && progress.step ? `stopped at step ${progress.step}, measuring` : `step ${progress.step} of ${progress.num_steps}`;
    } else if (progress.phase === "fold") {
      cells.state.value = Math.max(cells.state.value, 0.6 + (0.3 * progress.fold) / Math.max(1, progress.num_folds));
      cells.note.textContent = `holding out, fold ${progress.fold + 1} of ${progress.num_folds}`;
    } else {
      cells.state.value = 0.95;
      cells.note.textContent = "measuring";
    }
  }

  /** Nothing takes another step; what has taken some is measured yet. */
  stopping() {
    this.#isStopping = true;
    for (const { state, note } of this.#rows.values()) {
      const [, step] = /^step (\d+) of/.exec(note.textContent) ?? [];
      if (!state.hidden && step > 0) note.textContent = `stopped at step ${step}, measuring`;
    }
  }

  stopped(name) {
    this.#end(name, "stopped before it had an answer");
  }

  failed(name) {
    this.#end(name, "failed");
  }

  #end(name, note) {
    this.rest(name);
    this.#row(name).note.textContent = this.#reports.has(name) ? `${note}; these numbers are from before` : note;
  }

  /** Whether a result is of other pictures, modules or settings than those of now. */
  age(name, old) {
    this.#row(name).row?.classList.toggle("old", old);
  }

  drop(name) {
    this.#rows.delete(name);
    this.#reports.delete(name);
    this.#draw();
  }

  /** Nothing runs any more; what did not come to its end leaves what stood there before. */
  rest(name) {
    const { state, note } = this.#row(name);
    if (!state.hidden) note.textContent = effort(this.#reports.get(name));
    state.hidden = true;
  }

  /** A method's result. */
  finish(report) {
    this.#reports.set(report.method, report);
    const fresh = !this.#rows.has(report.method);
    const cells = this.#row(report.method);
    if (fresh) this.#draw();
    cells.state.value = 1;
    cells.state.hidden = true;
    cells.note.textContent = effort(report);
    cells.test.replaceChildren(...accuracy(report.test_accuracy, report.test_interval));
    cells.held.replaceChildren(...accuracy(report.held_out_accuracy, report.held_out_interval));
    cells.parameters.textContent = report.trainable_parameters?.toLocaleString("en") ?? "–";
  }

  /** What can be said of results of what the page shows, on training pictures of which `heldOut` are not their class's only one: what their numbers
   *  are, and which of them to take (suggestion.js); one alone needs no word. */
  tell(reports, { images, heldOut }, suggested) {
    if (reports.length) write($("honest"), sentence(reports, images, heldOut));
    $("suggested").hidden = !suggested || suggested.why === "alone";
    if (!suggested) return;
    const left = suggested.left.length ? ` Not compared, for want of a held-out accuracy: ${suggested.left.map((name) => method(name).label).join(", ")}.` : "";
    $("suggested").replaceChildren("Suggested: ", element("strong", {}, method(suggested.method).label), WHY[suggested.why], left);
  }
}

const WHY = {
  alone: "",
  "held-out": ": no other has a better held-out accuracy.",
  near: ". Of those that held-out pictures do not tell from the best, it gained most on other tasks.",
  unmeasured: ", which gained most on other tasks: nothing was held out here.",
};

/** What a result has taken, of a method that trains. */
const effort = (report) => (report?.steps ? `${report.steps} ${report.steps === 1 ? "step" : "steps"}, ${seconds(report.seconds)}` : "");

const seconds = (value) => (value < 10 ? `${value.toFixed(1)}\u00a0s` : `${Math.round(value)}\u00a0s`);

function accuracy(value, range) {
  if (value === null || value === undefined) return ["–"];
  const words = range ? element("small", {}, `${Math.round(100 * range[0])}–${Math.round(100 * range[1])}`) : "";
  return [element("strong", {}, percent(value)), words, range ? interval(value, range) : ""];
}

/** What is known of results whose pictures are elsewhere. */
function opened(reports) {
  const count = reports.reduce((most, report) => Math.max(most, report.train_images ?? 0), 0);
  const from = count ? `, from ${count} ${count === 1 ? "picture" : "pictures"}` : "";
  const isMeasured = reports.some((report) => (report.test_accuracy ?? report.held_out_accuracy) !== null);
  const how = reports.some((report) => report.here) ? "" : isMeasured ? ", and was measured there" : ", and does not say how well it did";
  const names = reports.map((report) => method(report.method).label).join(", ");
  return `A saved task comes without pictures: it was learned elsewhere${from}${how}. Test pictures measure it here. Once its classes have pictures, Start compares it with `
    + `other methods; ${names}, where ticked, is trained anew in its place.`;
}

const INTERVALS = "Small numbers and bars are 95 % intervals.";

/** What accuracies are, in words. */
function sentence(reports, images, heldOut) {
  if (reports.every((report) => report.opened)) return opened(reports);
  const measured = reports.filter((report) => report.held_out_accuracy !== null);
  if (!measured.length && reports.some((report) => report.test_accuracy !== null)) {
    return `${INTERVALS} Nothing was held out, with one picture per class or no folds: only the test pictures measure.`;
  }
  if (!measured.length) {
    return "Nothing was held out: with one picture per class, or no folds, there is nothing to measure with. Add pictures, or test pictures.";
  }
  const many = measured.map(({ held_out_folds: folds }) => folds).toSorted((a, b) => b - a);
  const ways = [...new Set(many.map((folds) => (folds >= heldOut ? "one at a time" : `in ${folds} groups`)))];
  const alone = heldOut < images ? " The only picture of a class is not left out." : "";
  const few = images < ENOUGH ? " That is too few to tell methods apart unless they differ by a lot." : "";
  const dashes = reports.filter((report) => !measured.includes(report));
  const why = dashes.every((report) => report.stopped) ? ", because the run was stopped" : "";
  const unmeasured = dashes.length ? ` A dash: not measured${why}.` : "";
  return `${INTERVALS} Held-out accuracy: each of ${heldOut} pictures is left out once, ${ways.join(" or ")}.${alone}${few}${unmeasured}`;
}
