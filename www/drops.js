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

/** Entries must be taken from the event before anything is awaited; those that cannot be read are told, and the rest goes on. */
export async function droppedFiles(entries) {
  const bad = [];
  const lists = await Promise.all(entries.filter(Boolean).map((entry) => filesBelow(entry, bad)));
  if (bad.length) fail({ message: `cannot be read, so left out: ${listed(bad)}` });
  return lists.flat();
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

/** Files of a zip, {path: Blob}, as if they had been dropped: a module that lies in no folder has the zip's name. */
export function unpacked(zip, files) {
  const stem = zip.replace(/\.zip$/i, "");
  return Object.entries(files).map(([path, blob]) => {
    const name = path.split("/").at(-1);
    return Object.assign(new File([blob], name), { path: isModule(name) ? `${stem}/${path}` : path });
  });
}

/** What files are for: {modules, projects, model, classes: Map(name -> {pictures, test}), loose, other}. */
export function sort(files) {
  const found = { modules: [], projects: [], model: [], classes: new Map(), loose: [], other: [] };
  const inFolders = [];
  for (const file of files) {
    if (isHidden(pathOf(file))) continue;
    if (/\.zip$/i.test(file.name)) found.projects.push(file);
    else if (isModule(file.name)) found.modules.push(file);
    else if (/^(config|preprocessor_config)\.json$|^model\.safetensors$/.test(file.name)) found.model.push(file);
    else if (file.type.startsWith("image/") || PICTURE.test(file.name)) (partsOf(file).length < 2 ? found.loose : inFolders).push(file);
    else if (!UNUSED.test(file.name)) found.other.push(file);
  }
  // A module can come with settings that its trainer saved; without weights they are no model.
  const nothingElse = !(found.modules.length + found.projects.length + found.loose.length + inFolders.length);
  if (!nothingElse && !found.model.some(({ name }) => name === "model.safetensors")) {
    if (!found.modules.length) found.other.push(...found.model);
    found.model = [];
  }
  for (const [file, name, isTest] of named(inFolders)) {
    const own = found.classes.get(name) ?? { pictures: [], test: [] };
    own[isTest ? "test" : "pictures"].push(file);
    found.classes.set(name, own);
  }
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
