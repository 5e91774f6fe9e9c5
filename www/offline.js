// Keeps the page for visits without a network, once it is there. A new version waits for a click, and for what runs.
import { $, fail } from "./dom.js";

const NOT_KEPT = "What is in this tab is not kept in this browser, and the new version would begin without it: save a project first, then press Update again.";
/** The files of the version before are gone when the new one takes over. */
const LEFT_BEHIND = "Another tab has taken a new version of this page. This tab goes on with the one that it began with, so that nothing is lost, but what it loads from now on (another model, a worker that starts again) is of the new version and may not fit: save what you need, then press Update.";

export class Offline {
  #busy;
  #trained;
  #keep;
  #registration = null;
  /** Whether a person asked for the new version here. */
  #wanted = false;
  /** Whether it has taken over: in this tab, or from another one. */
  #outdated = false;
  /** Whether a person knows that something here would be lost. */
  #told = false;

  /** `busy` says whether methods run, `trained` whether there is what they learned; `keep` keeps what there is, and says whether
   *  nothing else would be lost. */
  constructor({ busy, trained, keep }) {
    [this.#busy, this.#trained, this.#keep] = [busy, trained, keep];
    $("update").addEventListener("click", () => {
      this.#wanted = true;
      this.goOn();
    });
  }

  async begin() {
    if (!("serviceWorker" in navigator) || location.protocol === "file:") return;
    const { serviceWorker } = navigator;
    const registration = await serviceWorker.register("sw.js");
    this.#registration = registration;
    const offer = () => ($("update").hidden = !this.#outdated && !(registration.waiting && serviceWorker.controller));
    registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
    offer();
    let controlled = Boolean(serviceWorker.controller);
    serviceWorker.addEventListener("controllerchange", () => {
      // The first one that takes a page on is of the page's own version.
      this.#outdated = controlled;
      controlled = true;
      offer();
      this.goOn();
    });
  }

  /** Takes the new version if one is wanted and no method runs: a worker that starts again would be of another version. Where
   *  it came from another tab, only if nothing is lost here. */
  async goOn() {
    if (!this.#wanted && !this.#outdated) return;
    if (this.#busy()) return this.#wait();
    const kept = await this.#keep();
    // Somebody may have pressed Start meanwhile.
    if (this.#busy()) return this.#wait();
    if (!kept && this.#wanted && !this.#told) return this.#tell(NOT_KEPT);
    if (!this.#wanted && (!kept || this.#trained())) return this.#tell(LEFT_BEHIND);
    this.#label("Updating", true);
    if (this.#outdated) location.reload();
    else this.#registration.waiting?.postMessage({ type: "SKIP_WAITING" });
  }

  /** Until what runs is done. */
  #wait() {
    if (this.#wanted) this.#label("Updates when done", true);
    else this.#tell(LEFT_BEHIND);
  }

  /** Says, once, what would be lost; the next click is of somebody who knows. */
  #tell(message) {
    this.#wanted = false;
    this.#label("Update", false);
    if (!this.#told) fail({ message });
    this.#told = true;
  }

  #label(text, disabled) {
    $("update").textContent = text;
    $("update").disabled = disabled;
  }
}
