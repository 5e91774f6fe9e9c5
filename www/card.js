// A class as a card: its name, its pictures, and what can be done with them.
import { acceptDrops, element, write } from "./dom.js";
import { cameraButton } from "./webcam.js";

/** The parts of a class's card. `add` gets files, `rename` a name that was typed, `remove` and `expand` come from buttons. */
export function classCard(own, { add, rename, remove, expand }) {
  const id = `files-${own.key}`;
  const files = element("input", { type: "file", multiple: true, accept: "image/*", "data-testid": "class-files", id, class: "visually-hidden",
    onchange: (event) => {
      const chosen = [...event.target.files];
      event.target.value = "";
      add(chosen);
    } });
  const name = element("input", { type: "text", "aria-label": "Class name", "data-testid": "class-name", maxlength: "60", autocomplete: "off", onchange: () => rename(name.value.trim()) });
  const count = element("span", { class: "count" });
  const away = element("button", { type: "button", class: "quiet", onclick: remove }, "×");
  const thumbs = element("div", { class: "thumbs" });
  const more = element("button", { type: "button", class: "quiet", hidden: true, onclick: expand });
  const camera = cameraButton(own, (file) => add([file]));
  const card = element("article", { class: "card class-card", "data-testid": "class-card", "data-key": String(own.key) },
    element("header", {}, name, count, away),
    thumbs, more,
    element("div", { class: "class-add" }, element("label", { class: "button", for: id }, "Drop or choose pictures"), files, camera));
  // Pictures dropped on a card are of its class; folders and zips go on to the page.
  acceptDrops(card, (event, entries, dropped) => {
    // What is no file is the page's to refuse.
    if (!entries.length && !dropped.length) return;
    if (entries.some((entry) => entry.isDirectory) || dropped.some((file) => /\.(zip|json|safetensors)$/i.test(file.name))) return;
    event.stopPropagation();
    add(dropped);
  });
  return { card, name, count, thumbs, files, away, more, camera };
}

/** Writes how many pictures a class has, and what its buttons do; their names begin with the words that show on them. */
export function label({ card, count, files, away, camera }, own) {
  const { length } = own.pictures;
  card.setAttribute("aria-label", own.name);
  files.setAttribute("aria-label", `Drop or choose pictures of ${own.name}`);
  away.setAttribute("aria-label", `Remove class ${own.name}`);
  camera?.setAttribute("aria-label", `Take pictures of ${own.name}`);
  write(count, own.test.length ? `${length} + ${own.test.length} test` : `${length} ${length === 1 ? "picture" : "pictures"}`);
}
