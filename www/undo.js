// The offer to undo: what was taken away last can come back for a while, by a button and by keys.
import { $, say } from "./dom.js";
import { undoable } from "./pictures.js";

const SHOW_UNDO = 15_000;
/** What undoes by itself what was typed in it. */
const FIELDS = "input[type=text], input[type=number]";

export class Undo {
  #over;
  #hiding = 0;
  /** The field that was typed in since it has the keyboard. */
  #typed = null;
  /** What can come back, or null. */
  what = null;

  /** `back` is called when a person wants it back, `over` when the offer was open for long enough. */
  constructor({ back, over }) {
    this.#over = over;
    $("undo").addEventListener("click", () => back());
    addEventListener("focusin", () => (this.#typed = null));
    addEventListener("input", ({ target }) => (this.#typed = target.matches?.(FIELDS) ? target : null));
    addEventListener("keydown", (event) => {
      // The keyboard may have gone to a field by itself: only who typed there means what was typed.
      if (!(event.ctrlKey || event.metaKey) || event.key !== "z" || !this.what || event.target === this.#typed) return;
      event.preventDefault();
      back();
    });
  }

  offer(text, what) {
    this.what = what;
    $("toast-text").textContent = text;
    $("toast").hidden = false;
    this.#hide();
    say(undoable(text));
  }

  /** Takes the offer back after a while, but not from under a hand. */
  #hide() {
    clearTimeout(this.#hiding);
    this.#hiding = setTimeout(() => ($("toast").matches(":hover, :focus-within") ? this.#hide() : this.#over()), SHOW_UNDO);
  }

  /** The offer is over; says whether its button had the keyboard. */
  end() {
    const hadFocus = $("toast").contains(document.activeElement);
    this.what = null;
    $("toast").hidden = true;
    return hadFocus;
  }
}
