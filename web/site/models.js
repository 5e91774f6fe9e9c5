// The list of the model folders that ship, for the page: models/index.json.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Writes {folder, name, hub?, img_size?} of every folder with a manifest. */
export function writeIndex(models) {
  mkdirSync(models, { recursive: true });
  const folders = readdirSync(models).filter((folder) => existsSync(join(models, folder, "manifest.json"))).sort();
  const index = folders.map((folder) => {
    const { name, hub, img_size } = JSON.parse(readFileSync(join(models, folder, "manifest.json"), "utf8"));
    return { folder, name, hub, img_size };
  });
  writeFileSync(join(models, "index.json"), `${JSON.stringify(index, null, 2)}\n`);
}
