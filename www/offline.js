// Keeps the page for visits without a network, once it is there. A new version waits for a click, and for what runs.
import { $ } from "./dom.js";

export class Offline {
  #busy;
  #remember;
  #registration = null;
  /** Whether a person asked for the new version here. */
  #wanted = false;
  /** Whether it has taken over: in this tab, or from another one. */
  #outdated = false;

  /** `busy` says whether methods run; `remember` keeps what there is. */
  constructor({ busy, remember }) {
    this.#busy = busy;
    this.#remember = remember;
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
    const offer = () => ($("update").hidden = !(registration.waiting && serviceWorker.controller));
    registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
    offer();
    let controlled = Boolean(serviceWorker.controller);
    serviceWorker.addEventListener("controllerchange", () => {
      // The first one that takes a page on is of the page's own version.
      this.#outdated = controlled;
      controlled = true;
      this.goOn();
    });
  }

  /** Takes the new version if one is wanted and no method runs: a worker that starts again would be of another version. */
  async goOn() {
    if (!this.#wanted && !this.#outdated) return;
    const busy = this.#busy();
    $("update").disabled = this.#wanted;
    $("update").textContent = busy ? "Updates when done" : "Updating";
    if (busy) return;
    await this.#remember();
    if (this.#outdated) location.reload();
    else this.#registration.waiting?.postMessage({ type: "SKIP_WAITING" });
  }
}
