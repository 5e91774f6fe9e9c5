// The last step of building the site: the list of models, the service worker, compressed copies, and the size of a first
// visit.
//
//   node web/site/finish.js FOLDER [--limit BYTES | --fast]      --fast leaves the compressed copies out
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { generateSW } from "workbox-build";
import { writeIndex } from "./models.js";

const [folder, flag, limit] = process.argv.slice(2);
const COMPRESSED = /\.(html|js|css|json|svg|wasm|webmanifest)$/;
const CODE = /\.(js|wasm)$/;

async function files(dir) {
  const entries = await readdir(dir, { withFileTypes: true });
  const lists = await Promise.all(entries.map((entry) => (entry.isDirectory() ? files(join(dir, entry.name)) : [join(dir, entry.name)])));
  return lists.flat().sort();
}

writeIndex(join(folder, "models"));
const { count, size, warnings } = await generateSW({
  globDirectory: folder,
  globPatterns: ["**/*.{html,js,css,json,svg,wasm,woff2,safetensors}"],
  // Modules for models of the Hub are kept with these (www/models.js).
  globIgnores: ["models/!(base|index.json)/**"],
  swDest: join(folder, "sw.js"),
  inlineWorkboxRuntime: true,
  sourcemap: false,
  maximumFileSizeToCacheInBytes: 64 * 2 ** 20,
  ignoreURLParametersMatching: [/.*/],
  // An open page keeps the files that it began with, a first visit too: a new version waits until it is asked for, or all tabs
  // are closed.
  clientsClaim: true,
  skipWaiting: false,
  cleanupOutdatedCaches: true,
});
warnings.forEach((warning) => console.warn(warning));
console.log(`offline: ${count} files, ${(size / 1e6).toFixed(1)} MB before compression`);

if (flag === "--fast") process.exit(0);
let code = 0;
for (const file of await files(folder)) {
  if (!COMPRESSED.test(file)) continue;
  const bytes = await readFile(file);
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
  const small = await promisify(brotliCompress)(bytes, quality);
  await writeFile(`${file}.br`, small);
  await writeFile(`${file}.gz`, await promisify(gzip)(bytes, { level: 9 }));
  if (!CODE.test(file) || relative(folder, file) === "sw.js") continue;
  code += small.length;
  if (small.length > 20_000) console.log(`  ${relative(folder, file)}: ${((await stat(file)).size / 1e6).toFixed(2)} MB, ${(small.length / 1e6).toFixed(2)} MB brotli`);
}
console.log(`wasm and JavaScript: ${(code / 1e6).toFixed(2)} MB brotli`);
if (flag === "--limit" && code > Number(limit)) {
  console.error(`error: that is more than ${(Number(limit) / 1e6).toFixed(2)} MB; see what is in it with twiggy`);
  process.exit(1);
}
