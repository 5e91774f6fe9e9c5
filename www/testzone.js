// Labelled test pictures, and the confusion matrix whose cells open them.
import { $, element, percent } from "./dom.js";
import { method } from "./methods.js";

const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

export class TestZone {
  #classes;
  #reports = () => new Map();

  constructor(classes, reports) {
    this.#classes = classes;
    this.#reports = reports;
    $("test-files").addEventListener("change", async (event) => {
      const own = classes.list.find((known) => String(known.key) === $("test-class").value);
      if (own) await classes.addFiles(own, [...event.target.files], "test");
      event.target.value = "";
    });
    $("test-clear").addEventListener("click", () => classes.clearTest());
    $("confusion-method").addEventListener("change", () => this.draw());
  }

  refresh() {
    const chosen = $("test-class").value;
    $("test-class").replaceChildren(...this.#classes.list.map((own) => element("option", { value: String(own.key) }, own.name)));
    if (this.#classes.list.some((own) => String(own.key) === chosen)) $("test-class").value = chosen;
    $("test-files").disabled = !this.#classes.list.length;
    const count = this.#classes.list.reduce((sum, own) => sum + own.test.length, 0);
    $("test-count").textContent = count ? `${count} test pictures` : "";
    $("test-clear").hidden = !count;
    this.draw();
  }

  draw() {
    const reports = [...this.#reports().values()].filter((report) => report.answers?.length);
    $("confused").hidden = !reports.length;
    if (!reports.length) return;
    const select = $("confusion-method");
    const chosen = select.value;
    select.replaceChildren(...reports.map((report) => element("option", { value: report.method }, `${method(report.method).label} (${percent(report.test_accuracy)})`)));
    const top = reports.reduce((a, b) => (b.test_accuracy > a.test_accuracy ? b : a));
    select.value = reports.some((report) => report.method === chosen) ? chosen : top.method;
    this.#matrix(reports.find((report) => report.method === select.value));
  }

  #matrix({ answers, confusion }) {
    const names = this.#classes.list.map((own) => own.name);
    const label = (index) => names[index] ?? `class ${index + 1}`;
    const largest = Math.max(1, ...confusion.flat());
    const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "true \\ said"), ...confusion.map((_, index) => element("th", { scope: "col" }, label(index)))));
    const rows = confusion.map((row, truth) => element("tr", {}, element("th", { scope: "row" }, label(truth)), ...row.map((count, said) => {
      const cell = element("button", { type: "button", class: truth === said ? "cell right" : "cell wrong", disabled: count === 0,
        "aria-label": `${count} pictures of ${label(truth)} were called ${label(said)}`,
        onclick: () => this.#open(answers.filter((answer) => answer.class === truth && best(answer.probabilities) === said), label(truth), label(said)) }, String(count));
      cell.style.setProperty("--share", String(count / largest));
      return element("td", {}, cell);
    })));
    $("confusion").replaceChildren(head, element("tbody", {}, ...rows));
    $("confusion-pictures").replaceChildren();
  }

  #open(answers, truth, said) {
    const pictures = this.#classes.list.flatMap((own) => own.test);
    const found = answers.map((answer) => ({ answer, picture: pictures.find((picture) => picture.name === answer.image) })).filter((own) => own.picture);
    $("confusion-pictures").replaceChildren(
      element("p", { class: "muted" }, `${truth}, called ${said}:`),
      element("ul", { class: "thumbs" }, ...found.map(({ answer, picture }) => {
        const copy = element("canvas", { width: picture.canvas.width, height: picture.canvas.height, role: "img", "aria-label": answer.image });
        copy.getContext("2d").drawImage(picture.canvas, 0, 0);
        return element("li", { class: "thumb", title: `${answer.image}: ${percent(Math.max(...answer.probabilities))}` }, copy);
      })));
  }
}
