// Folders and files that come in at once: dropped anywhere, opened, or pasted.
const readBatch = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

/** All files below an entry, each with its path in `path`. */
async function filesBelow(entry, prefix = "") {
  const path = `${prefix}${entry.name}`;
  if (entry.isFile) return [Object.assign(await fileOf(entry), { path })];
  const reader = entry.createReader();
  const files = [];
  for (let batch = await readBatch(reader); batch.length; batch = await readBatch(reader)) {
    for (const child of batch) files.push(...(await filesBelow(child, `${path}/`)));
  }
  return files;
}

/** Entries must be taken from the event before anything is awaited. */
export async function droppedFiles(entries) {
  const lists = await Promise.all(entries.filter(Boolean).map((entry) => filesBelow(entry)));
  return lists.flat();
}

const PART = /^(train|test)$/i;

/** What files are for: {modules, projects, model, classes: Map(name -> {pictures, test}), loose, other}. */
export function sort(files) {
  const found = { modules: [], projects: [], model: [], classes: new Map(), loose: [], other: [] };
  for (const file of files) {
    const path = (file.path || file.webkitRelativePath || file.name).split("/");
    if (/\.zip$/i.test(file.name)) found.projects.push(file);
    else if (/^adapter_(config\.json|model\.safetensors)$/.test(file.name)) found.modules.push(file);
    else if (/^(config|preprocessor_config)\.json$|^model\.safetensors$/.test(file.name)) found.model.push(file);
    else if (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|tiff?)$/i.test(file.name)) {
      if (path.length < 2) found.loose.push(file);
      else {
        const name = path.at(-2);
        const part = path.slice(0, -2).some((folder) => PART.test(folder) && folder.toLowerCase() === "test") ? "test" : "pictures";
        const own = found.classes.get(name) ?? { pictures: [], test: [] };
        own[part].push(file);
        found.classes.set(name, own);
      }
    } else if (!/^\.|^(Thumbs\.db|desktop\.ini|README|LICENSE|training\.json|manifest\.json)/i.test(file.name)) found.other.push(file);
  }
  return found;
}
