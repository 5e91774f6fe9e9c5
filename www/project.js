// Project files: everything that a run needs, in a zip that opens here and replays in the command line.
import { unzip, zip } from "./archive.js";

const safe = (name) => name.normalize("NFKD").replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "") || "file";

/** `state`: {model, config, methods, classes, modules, results}. */
export async function saveProject({ model, config, methods, classes, modules, results }) {
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
  const project = { format: 1, model, config, methods, classes: described, modules: modules.map(({ name }) => name), results };
  files["project.json"] = JSON.stringify(project, null, 2);
  return zip(files);
}

/** The reverse: {project, classes: [{name, pictures: [File], test: [File]}], modules}. */
export async function openProject(file) {
  const files = await unzip(file);
  const bad = (reason) => ({ code: "mismatch", message: `${file.name}: ${reason}` });
  if (!files["project.json"]) throw { ...bad("there is no project.json; is it a project that this page saved?"), code: "no-project" };
  let project;
  try {
    project = JSON.parse(await files["project.json"].text());
  } catch {
    throw bad("project.json is not JSON");
  }
  if (project.format !== 1) throw bad(`its format is ${project.format}, this page reads 1; reload the page to update it`);
  const read = (path) => {
    if (!files[path]) throw bad(`${path} is missing`);
    return files[path];
  };
  const picture = (path) => new File([read(path)], path.split("/").at(-1).replace(/^\d{3}-/, ""));
  const classes = project.classes.map(({ name, train, test }) => ({ name, pictures: train.map(picture), test: test.map(picture) }));
  const modules = await Promise.all(project.modules.map(async (name) => ({
    name, config: await read(`modules/${name}/adapter_config.json`).text(), weights: read(`modules/${name}/adapter_model.safetensors`),
  })));
  return { project, classes, modules };
}
