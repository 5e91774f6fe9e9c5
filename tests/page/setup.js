// Before the tests: the tiny random model that WebGPU in software can run, and modules for a model of the Hub, next to the
// embedded model.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeIndex } from "../../web/site/models.js";
import { module, tinyModel, writeFolder } from "./files.js";

const MODELS = new URL("../../target/site/models/", import.meta.url).pathname;
export const TINY = `${MODELS}tiny/`;
/** The id that the tests give to a tiny model on the Hub. */
export const HUB_ID = "someone/tiny-vit";

const manifest = (...args) => execFileSync("node", [new URL("../../web/site/manifest.js", import.meta.url).pathname, ...args]);

export default function setup() {
  if (!existsSync(`${MODELS}base/manifest.json`)) throw new Error("target/site/models/base is missing: the embedded model belongs to www/models/base");
  writeFolder(TINY, tinyModel());
  manifest(TINY, "tiny");
  const config = JSON.parse(tinyModel()["config.json"]);
  for (const [index, name] of ["birds", "boats"].entries()) writeFolder(`${MODELS}hubbed/modules/${name}`, module(config, 20 + index));
  manifest(`${MODELS}hubbed/`, "tiny-vit", HUB_ID, "32");
  writeFolder(`${MODELS}hubbed-large/modules/lakes`, module(config, 22));
  manifest(`${MODELS}hubbed-large/`, "tiny-vit", HUB_ID, "48");
  writeIndex(MODELS);
}
