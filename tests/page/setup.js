// Before the tests: the tiny random model that WebGPU in software can run, next to the embedded one.
import { execFileSync } from "node:child_process";
import { writeFolder, tinyModel } from "./files.js";

export const TINY = new URL("../../target/site/models/tiny/", import.meta.url).pathname;

export default function setup() {
  writeFolder(TINY, tinyModel());
  execFileSync("node", [new URL("../../web/site/manifest.js", import.meta.url).pathname, TINY, "tiny"]);
}
