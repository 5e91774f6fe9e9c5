// Pictures that came in more than once: they stay, but whoever reads an accuracy has to know.
import { fail, listed, sameReasons } from "./dom.js";

const digests = new WeakMap();

/** What is the same for files of the same bytes; nothing where a file cannot be read any more, or the page may not hash. */
async function digest({ file }) {
  try {
    if (!digests.has(file)) digests.set(file, String(new Uint32Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()))));
    return digests.get(file);
  } catch {
    return undefined;
  }
}

/** Lists of pictures that have the same bytes, some of `added` in each. Only those that may have are read: others of their size are there. */
async function twins(added, all) {
  const sizes = new Map();
  for (const { file } of all) sizes.set(file.size, (sizes.get(file.size) ?? 0) + 1);
  const asked = new Set([...added].map(({ file }) => file.size).filter((size) => sizes.get(size) > 1));
  const found = new Map();
  for (const picture of all.filter(({ file }) => asked.has(file.size))) {
    const own = await digest(picture);
    if (own) found.set(own, [...(found.get(own) ?? []), picture]);
  }
  return [...found.values()].filter((like) => like.length > 1 && like.some((picture) => added.has(picture)));
}

/** What is wrong with pictures to learn from that are the same, in classes of these names. */
const confused = (names) => (names.length > 1
  ? `in ${names.map((name) => `“${name}”`).join(" and ")}, so that what is learned of one is wrong for the other`
  : `more than once in “${names[0]}”, so that the held-out accuracy tends to be too high`);

/** What was learned from measures nothing, and no fold knows that two pictures are the same. */
export async function warnOfCopies(pictures, classes) {
  const added = new Set(pictures);
  const [learned, tested] = ["pictures", "test"].map((part) => new Map(classes.flatMap((own) => own[part].map((picture) => [picture, own]))));
  let both = 0;
  const twice = [];
  for (const like of await twins(added, [...learned.keys(), ...tested.keys()])) {
    const fresh = like.filter((picture) => added.has(picture));
    const owns = like.filter((picture) => learned.has(picture)).map((picture) => learned.get(picture));
    if (owns.length && owns.length < like.length) both += fresh.length;
    if (owns.length > 1 && learned.has(fresh[0])) twice.push([fresh.at(-1).name, confused([...new Set(owns)].map(({ name }) => name))]);
  }
  const what = both === 1 ? "1 picture is" : `${both} pictures are`;
  if (both) fail({ message: `${what} both to learn from and to test: the test accuracy will be too high` });
  if (twice.length) fail({ message: listed(sameReasons(twice)) });
}
