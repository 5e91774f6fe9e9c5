// Folders and files that come in at once: dropped anywhere, opened, or pasted.
import { fail, listed } from "./dom.js";

const readBatch = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

/** All files below an entry, each with its path in `path`; in `bad` the paths of what cannot be read. */
async function filesBelow(entry, bad, prefix = "") {
  const path = `${prefix}${entry.name}`;
  const files = [];
  try {
    if (entry.isFile) return [Object.assign(await fileOf(entry), { path })];
    const reader = entry.createReader();
    for (let batch = await readBatch(reader); batch.length; batch = await readBatch(reader)) {
      for (const child of batch) files.push(...(await filesBelow(child, bad, `${path}/`)));
    }
  } catch {
    bad.push(path);
  }
  return files;
}

/** Entries must be taken from the event before anything is awaited; those that cannot be read are told, and the rest goes on. Folders without
 *  anything of use are told, too, unless whoever asks looks for something else than pictures. */
export async function droppedFiles(entries, forPictures = true) {
  const bad = [];
  const lists = await Promise.all(entries.map((entry) => filesBelow(entry, bad)));
  if (bad.length) fail({ message: `cannot be read, so left out: ${listed(bad)}` });
  const folders = entries.map(({ name, isDirectory }, index) => [name, lists[index], isDirectory]);
  const isWhole = (name) => !bad.some((path) => path.split("/")[0] === name);
  if (forPictures) tellEmpty(folders.filter(([name, , isDirectory]) => isDirectory && isWhole(name)));
  return lists.flat();
}

/** Says which folders, [[name, files]], have nothing in them that is of use here. */
function tellEmpty(folders) {
  const empty = folders.filter(([, files]) => !files.some(kindOf)).map(([name]) => `${name}: no pictures in it`);
  if (empty.length) fail({ message: listed(empty) });
}

/** The files of a folder that was opened. */
export function openedFiles(files) {
  if (files.length) tellEmpty([[pathOf(files[0]).split("/")[0], files]]);
  return files;
}

const TRAIN = /^train(ing)?$/i;
const TEST = /^(test(ing)?|val(id|idation)?)$/i;
const GENERIC = /^(photos?|pictures?|pics?|images?|imgs?|jpe?gs?)$/i;
const PICTURE = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf])$/i;
const UNUSED = /^(Thumbs\.db|desktop\.ini|README|LICENSE|(training|composition|manifest|task)\.json)/i;
const isPart = (folder) => TRAIN.test(folder) || TEST.test(folder);
/** A file's path as it came in. */
export const pathOf = (file) => file.path || file.webkitRelativePath || file.name;
// Some systems store an accent apart from its letter: the same name is the same class.
const partsOf = (file) => pathOf(file).normalize().split("/");

/** What macOS puts beside every file, which nobody means. */
export const isHidden = (path) => /(^|\/)(__MACOSX\/|\.[^/]*$)/.test(path);

const isModule = (name) => /^adapter_(config\.json|model\.safetensors)$/.test(name);

/** How much of each of several amounts has a place among so many: the same of each, and all of those that are less. */
export function shared(amounts, places) {
  const shares = [];
  let left = Math.max(0, places);
  const rising = [...amounts.keys()].sort((a, b) => amounts[a] - amounts[b]);
  for (const [done, index] of rising.entries()) {
    shares[index] = Math.min(amounts[index], Math.floor(left / (amounts.length - done)));
    left -= shares[index];
  }
  return shares;
}

const { compare } = new Intl.Collator(undefined, { numeric: true });
/** Files in the order of their paths, 2 before 10: a folder and a zip have them in any order. */
const inOrder = (files) => files.toSorted((one, other) => compare(pathOf(one), pathOf(other)));

/** Files of a zip, {path: Blob}, as if they had been dropped: a module that lies in no folder has the zip's name. So have pictures where the
 *  zip is a class (`isClass`), as a folder is. */
export function unpacked(zip, files, isClass = false) {
  const stem = zip.replace(/\.zip$/i, "");
  const isOfZip = (path, name) => isModule(name) || (isClass && path === name && PICTURE.test(name));
  return inOrder(Object.entries(files).map(([path, blob]) => {
    const name = path.split("/").at(-1);
    return Object.assign(new File([blob], name), { path: isOfZip(path, name) ? `${stem}/${path}` : path });
  }));
}

/** Where a file goes in what [`sort`] gives, pictures in folders apart; nothing for what nobody means. */
function kindOf(file) {
  if (isHidden(pathOf(file))) return undefined;
  if (/\.zip$/i.test(file.name)) return "projects";
  if (isModule(file.name)) return "modules";
  if (/^(config|preprocessor_config)\.json$|^model\.safetensors$/.test(file.name)) return "model";
  if (file.type.startsWith("image/") || PICTURE.test(file.name)) return partsOf(file).length < 2 ? "loose" : "inFolders";
  return UNUSED.test(file.name) ? undefined : "other";
}

/** What files are for: {modules, projects, model, classes: Map(name -> {pictures, test}), loose, other}. */
export function sort(files) {
  const found = { modules: [], projects: [], model: [], classes: new Map(), loose: [], other: [] };
  const inFolders = [];
  const places = { ...found, inFolders };
  for (const file of files) places[kindOf(file)]?.push(file);
  // A module can come with settings that its trainer saved; without weights they are no model.
  const nothingElse = !(found.modules.length + found.projects.length + found.loose.length + inFolders.length);
  if (!nothingElse && !found.model.some(({ name }) => name === "model.safetensors")) {
    if (!found.modules.length) found.other.push(...found.model);
    found.model = [];
  }
  for (const [file, name, isTest] of named(inOrder(inFolders))) {
    const own = found.classes.get(name) ?? { pictures: [], test: [] };
    own[isTest ? "test" : "pictures"].push(file);
    found.classes.set(name, own);
  }
  found.classes = new Map([...found.classes].sort(([one], [other]) => compare(one, other)));
  return found;
}

/** [file, class, whether it is for testing] of each. A class is the folder that its files lie in; where all lie in folders
 *  like `train` and `test`, or in one that is called `photos` for every class, it is the folder above. */
function named(files) {
  const all = files.map((file) => partsOf(file).slice(0, -1));
  const inParts = all.every((folders) => isPart(folders.at(-1)));
  const places = all.map((folders) => (inParts && folders.length > 1 ? folders.slice(0, -1) : folders));
  const several = new Set(places.map((place) => place.join("/"))).size > 1;
  const inOne = several && places.every((place) => place.length > 1 && GENERIC.test(place.at(-1)) && place.at(-1) === places[0].at(-1));
  return files.map((file, index) => {
    const depth = places[index].length - (inOne ? 2 : 1);
    const around = all[index].filter((_, at) => at !== depth);
    return [file, all[index][depth], around.some((folder) => TEST.test(folder))];
  });
}
