// Saved tasks that come in, from here or from the command line: an adapter or a whole model with `task.json`, which answers without pictures.
import { isHidden } from "./drops.js";
import { METHODS } from "./methods.js";
import { readReport } from "./project.js";
import { flag, list, number, optional, parsed, record, text, whole } from "./shapes.js";

const DESCRIPTION = "task.json";
const ADAPTER = ["adapter_config.json", "adapter_model.safetensors"];
const MODEL = ["config.json", "model.safetensors"];
const FILES = [DESCRIPTION, ...ADAPTER, ...MODEL, "preprocessor_config.json"];

const TASK = record({ model: text, method: text, merged: optional(flag), classes: list(text), img_size: optional(whole), measured: optional(record({ train_images: whole })) });

function checked(task, bad) {
  record({ format: number })(task, "");
  if (task.format !== 1) throw bad(`its format is ${task.format}, this page reads 1; reload the page to update it`);
  TASK(task, "");
  if (!METHODS.some(({ name }) => name === task.method)) throw bad(`it was learned by “${task.method}”, which this page does not know; reload the page to update it`);
  return task;
}

/** The saved task among files that came in, [[path, Blob]], as a map of its own files by their names; undefined if there is none. Of
 *  several, or among other adapters, none is meant: all of them can be modules. */
export function taskAmong(entries) {
  const known = new Map(entries);
  const around = (path) => path.slice(0, -DESCRIPTION.length);
  // Other programs have files of this name, too.
  const isOurs = (path) => [ADAPTER, MODEL].some(([config]) => known.has(around(path) + config));
  const found = [...known.keys()].filter((path) => path.split("/").at(-1) === DESCRIPTION && !isHidden(path) && isOurs(path));
  const adapters = [...known.keys()].filter((path) => path.split("/").at(-1) === ADAPTER[0] && !isHidden(path));
  if (found.length !== 1 || adapters.length > 1) return undefined;
  const folder = around(found[0]);
  return new Map(FILES.filter((file) => known.has(folder + file)).map((file) => [file, known.get(folder + file)]));
}

/**
 * A saved task from its files: {task, adapter, model}. `adapter` is what the engine takes back, and `model` the files of a model that lie
 * beside it: the whole model that was saved, where the task is no adapter, or else maybe the one that it was learned on.
 */
export async function openTask(name, files) {
  const bad = (reason) => ({ code: "mismatch", message: `${name}: ${reason}` });
  const task = await parsed(DESCRIPTION, files.get(DESCRIPTION), checked, { bad, remedy: "save the task again" });
  const isWhole = task.merged || task.method === "full";
  const missing = (isWhole ? MODEL : ADAPTER).find((file) => !files.has(file));
  if (missing) throw bad(`${missing} is missing; open the folder or the zip as it was saved`);
  const text = await files.get(DESCRIPTION).text();
  // Loose files have no name of their own.
  const folder = name === DESCRIPTION ? "" : `${name.replace(/\.zip$/i, "")}/`;
  const model = [...files].map(([file, blob]) => Object.assign(new File([blob], file), { path: `${folder}${file}` }));
  if (isWhole) return { task, adapter: { task: text, whole: true }, model };
  const isThere = MODEL.every((file) => files.has(file));
  return { task, adapter: { task: text, config: await files.get(ADAPTER[0]).text(), weights: files.get(ADAPTER[1]) }, model: isThere ? model : [] };
}

/** What a task says of how its method did; tasks of older versions say nothing. */
export const measured = ({ method, measured: found }) => {
  const known = readReport({ method, ...found }) ?? readReport({ method, held_out_folds: 0, steps: 0, seconds: 0 });
  // No setting of this page is part of it, nor are its modules.
  return { ...known, opened: true };
};
