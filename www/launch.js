// The buttons that begin, hold and end a run, why it cannot begin, and how much longer it takes.
import { $, write } from "./dom.js";
import { Estimate } from "./estimate.js";

/** Whether no run is on that a person started. */
export const isIdle = (state) => ["off", "idle", "quick"].includes(state);
const seconds = () => performance.now() / 1000;
const names = new Intl.ListFormat("en-GB");

export class Launch {
  #state = "off";
  #estimate;
  #clock;

  constructor({ start, flow }) {
    $("start").addEventListener("click", start);
    $("pause").addEventListener("click", () => flow(this.#state === "paused" ? "go" : "pause"));
    $("stop").addEventListener("click", () => flow("stop"));
  }

  /** Whether Pause or Stop has the keyboard. */
  get hasFocus() {
    return [$("pause"), $("stop")].includes(document.activeElement);
  }

  /** What can be pressed. `reason` is why nothing can start, or empty; `moved` is what the page shows otherwise than the run has it. */
  show(state, reason, moved) {
    const idle = isIdle(state);
    this.#state = state;
    // The button that has the keyboard is about to go: what came out is what there is to look at then.
    if (idle && this.hasFocus) $("results-region").focus({ preventScroll: true });
    $("start").disabled = Boolean(reason);
    $("start").hidden = !idle;
    write($("why"), reason && idle ? `To start, ${reason}.` : moved.length ? `This run goes on with the ${names.format(moved)} that it began with.` : "");
    $("pause").hidden = $("stop").hidden = idle;
    $("stop").disabled = $("pause").disabled = state === "stopping";
    $("pause").textContent = state === "paused" ? "Resume" : "Pause";
    $("pulse").className = `pulse ${{ off: "off", idle: "", paused: "off" }[state] ?? "busy"}`;
    if (state === "paused") this.#estimate?.pause(seconds());
    else this.#estimate?.goOn(seconds());
    if (idle) this.#end();
    this.#tell();
  }

  /** A run of these methods begins; `what` is what [`Estimate`] asks for. */
  begin(methods, what) {
    this.#end();
    this.#estimate = new Estimate(methods, what);
    this.#clock = setInterval(() => this.#tell(), 1000);
  }

  #end() {
    clearInterval(this.#clock);
    this.#estimate = undefined;
  }

  /** Something is done. */
  hear(event) {
    this.#estimate?.hear(event, seconds());
  }

  /** A run that is stopped only measures. */
  #tell() {
    write($("left"), this.#state === "stopping" ? "" : (this.#estimate?.left(seconds()) ?? ""));
  }
}
