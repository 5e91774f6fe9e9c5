// Project files: everything that a run needs, in a zip that opens here and replays in the command line.
import { zip } from "./archive.js";
import { isHidden } from "./drops.js";
import { METHODS } from "./methods.js";
import { Wrong, flag, isWhole, list, must, number, optional, parsed, record, row, text, whole } from "./shapes.js";

/** Characters of a name inside a zip, at most. */
const LONGEST = 80;

/** A name as one part of a path: letters and numbers of every script stay, and nothing hides it or leads out of its folder. */
export function safe(name) {
  const [, stem, extension = ""] = /^(.*?)(\.[\p{L}\p{N}]{1,10})?$/su.exec(name.normalize("NFC"));
  const plain = stem.replace(/[^\p{L}\p{M}\p{N} ._()-]+/gu, "-").replace(/^[. -]+|[. ]+$/g, "") || "file";
  return [...plain].slice(0, LONGEST - [...extension].length).join("") + extension;
}

/** What a picture was called before its number and its folder. */
const nameIn = (path) => path.split("/").at(-1).replace(/^\d{3,}-/, "");

/** `state`: {model, imgSize?, config, methods, classes, modules, results}. */
export async function saveProject({ model, imgSize, config, methods, classes, modules, results }) {
  const files = {};
  const described = [];
  for (const [index, own] of classes.entries()) {
    const paths = { name: own.name, train: [], test: [] };
    for (const [part, pictures] of [["train", own.pictures], ["test", own.test]]) {
      for (const [number, picture] of pictures.entries()) {
        const path = `${part}/${index + 1}-${safe(own.name)}/${String(number + 1).padStart(3, "0")}-${safe(picture.name)}`;
        files[path] = picture.file;
        paths[part].push(path);
      }
    }
    described.push(paths);
  }
  for (const module of modules) {
    files[`modules/${module.name}/adapter_config.json`] = module.config;
    files[`modules/${module.name}/adapter_model.safetensors`] = module.weights;
  }
  const project = { format: 1, model, img_size: imgSize, config, methods, classes: described, modules: modules.map(({ name }) => name), results };
  files["project.json"] = JSON.stringify(project, null, 2);
  return zip(files);
}

const PROJECT = record({
  model: text,
  img_size: optional(whole),
  config: record({ train: record({ num_steps: whole, seed: whole, augment: optional(flag), mirror: optional(flag) }), folds: whole, views: optional(whole), multi_crop: optional(flag) }),
  methods: list(text),
  classes: list(record({ name: text, train: list(text), test: list(text) })),
  modules: list(text),
  results: list(record({ method: text })),
});

function coefficients(value, field) {
  record({ modules: list(text), groups: list(text) })(value, field);
  const { modules, groups } = value;
  must(modules.length, `${field}.modules`);
  must(groups.length, `${field}.groups`);
  record({ weights: list(row(Number.isFinite, modules.length), groups.length), means: row(Number.isFinite, modules.length) })(value, field);
}

/** What a result may lack; nothing stands in its place. */
const MEASURED = {
  train_images: optional(whole), test_accuracy: optional(number), test_interval: optional(row(Number.isFinite, 2)),
  held_out_accuracy: optional(number), held_out_interval: optional(row(Number.isFinite, 2)),
  trainable_parameters: optional(whole), coefficients: optional(coefficients), confusion: optional(list(row(isWhole))), answers: optional(list(record({ image: text }))),
};
const NOTHING = Object.fromEntries(Object.keys(MEASURED).map((name) => [name, null]));
const RESULT = record({ held_out_folds: whole, steps: whole, seconds: number, stopped: optional(flag), opened: optional(flag), ...MEASURED });

/** Held-out estimates were once called after leave-one-out. */
const renamed = (report) => Object.fromEntries(Object.entries(report).map(([name, value]) => [name.replace(/^loo_/, "held_out_"), value]));

/** A result as the page reads it. */
function result(saved, field) {
  const report = renamed(saved);
  RESULT(report, field);
  const { confusion, answers } = report;
  const classes = confusion?.length;
  if (confusion) list(row(isWhole, classes))(confusion, `${field}.confusion`);
  if (answers?.length) {
    must(confusion, `${field}.confusion`);
    const known = (value, own) => must(isWhole(value) && value < classes, own);
    list(record({ class: known, probabilities: row(Number.isFinite, classes) }))(answers, `${field}.answers`);
  }
  return { ...NOTHING, ...report };
}

const isKnown = (report) => METHODS.some(({ name }) => name === report?.method);

/** A report that was kept, as the page reads it; undefined for one of another shape or of a method that this page does not know. */
export function readReport(report) {
  try {
    return isKnown(report) ? result(report, "") : undefined;
  } catch (error) {
    if (error instanceof Wrong) return undefined;
    throw error;
  }
}

/** A project of this format, checked to the end before any of it is used, without results of methods that this page does not know. */
function checked(project, bad) {
  record({ format: number })(project, "");
  if (project.format !== 1) throw bad(`its format is ${project.format}, this page reads 1; reload the page to update it`);
  PROJECT(project, "");
  return { ...project, results: project.results.flatMap((report, index) => (isKnown(report) ? result(report, `results[${index}]`) : [])) };
}

const DESCRIPTION = "project.json";

/** The project among files that came in, [[path, Blob]], by the paths that its project.json names; undefined if there is none.
 *  Whoever packs an unpacked project again puts a folder around it, and some systems store an accent apart from its letter. */
export function projectAmong(entries) {
  const paths = entries.map(([path]) => path);
  const around = (place) => place.slice(0, -DESCRIPTION.length);
  // Other programs have files of this name, too, in folders of pictures as well.
  const isOurs = (place) => ["train/", "test/", "modules/"].some((folder) => paths.some((path) => path.startsWith(around(place) + folder)));
  const named = paths.filter((path) => path.split("/").at(-1) === DESCRIPTION && !isHidden(path));
  const found = named.includes(DESCRIPTION) ? [DESCRIPTION] : named.filter(isOurs);
  const [place, more] = found;
  if (more) throw { code: "mismatch", message: `${found.join(" and ")}: only one project can be open, so open one of them alone` };
  if (!place) return undefined;
  const { length } = around(place);
  return new Map(entries.filter(([path]) => path.startsWith(around(place))).map(([path, blob]) => [path.slice(length).normalize(), blob]));
}

/** The reverse of saving, from a project's files by their paths: {project, classes: [{name, pictures: [File], test: [File]}], modules}. */
export async function openProject(name, files) {
  const bad = (reason) => ({ code: "mismatch", message: `${name}: ${reason}` });
  const project = await parsed(DESCRIPTION, files.get(DESCRIPTION), checked, { bad, remedy: "save the project again" });
  const read = (path) => {
    const file = files.get(path.normalize());
    if (!file) throw bad(`${path} is missing`);
    return file;
  };
  const picture = (path) => new File([read(path)], nameIn(path));
  const classes = project.classes.map(({ name, train, test }) => ({ name, pictures: train.map(picture), test: test.map(picture) }));
  const modules = await Promise.all(project.modules.map(async (name) => ({
    name, config: await read(`modules/${name}/adapter_config.json`).text(), weights: read(`modules/${name}/adapter_model.safetensors`),
  })));
  return { project, classes, modules };
}
