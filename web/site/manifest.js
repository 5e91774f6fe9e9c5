// Writes manifest.json of a model folder that ships: every file with its size and SHA-256, every module with its card.
// With a Hub id the folder holds modules alone, for the model of that id, trained at an input side in pixels.
//
//   node web/site/manifest.js www/models/base NAME [HUB_ID [IMG_SIZE]]
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [folder, name, hub, side] = process.argv.slice(2);
const files = {};
const add = (path) => {
  const bytes = readFileSync(join(folder, path));
  files[path] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
};
if (!hub) ["config.json", "preprocessor_config.json", "model.safetensors"].forEach(add);
const modules = existsSync(join(folder, "modules")) ? readdirSync(join(folder, "modules")).sort() : [];

/** Licence of the weights that this project trained. */
const LICENSE = "MIT OR Apache-2.0";

/** As the command line rounds. */
const FIGURE = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1, roundingMode: "halfEven" });

/** One line about a module, and its licence, from what train-module reports. */
function about(path) {
  const report = join(folder, path, "training.json");
  if (!existsSync(report)) return {};
  const { classes, num_train: images, probe_test_accuracy: probe, module, source } = JSON.parse(readFileSync(report, "utf8"));
  const percent = (value) => `${FIGURE.format(100 * value)} %`;
  const card = `${classes.length} classes, ${images} images: ${percent(probe)} → ${percent(module.test_accuracy)}`;
  return { card, license: source ? `${LICENSE}, trained on ${source}` : LICENSE };
}

const described = modules.map((module) => {
  const path = `modules/${module}`;
  ["adapter_config.json", "adapter_model.safetensors"].forEach((file) => add(`${path}/${file}`));
  return { name: module, ...about(path) };
});
writeFileSync(join(folder, "manifest.json"), `${JSON.stringify({ name, ...(hub ? { hub, img_size: side && Number(side) } : { license: LICENSE }), files, modules: described }, null, 2)}\n`);
console.log(`${Object.keys(files).length} files, ${modules.length} modules`);
