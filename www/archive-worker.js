// One zip, packed or unpacked; the page ends this worker afterwards.
import { unzipSync, zipSync } from "./vendor/fflate.js";

/** A zip can claim any size; what is larger than this is no project and no module. */
const LIMIT = 2 ** 31;

async function unpack(file) {
  let total = 0;
  const filter = ({ name, originalSize }) => {
    total += originalSize;
    if (total > LIMIT) throw new Error("it unpacks to more than 2 GB");
    return !name.endsWith("/");
  };
  const files = unzipSync(new Uint8Array(await file.arrayBuffer()), { filter });
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, new Blob([bytes])]));
}

async function pack(files) {
  const entries = {};
  for (const [path, value] of Object.entries(files)) entries[path] = new Uint8Array(await new Blob([value]).arrayBuffer());
  // Pictures and weights do not shrink.
  return new Blob([zipSync(entries, { level: 0 })], { type: "application/zip" });
}

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ result: data.unzip ? await unpack(data.unzip) : await pack(data.zip) });
  } catch (error) {
    postMessage({ error: data.unzip ? `this is not a zip that can be read (${error.message})` : error.message });
  }
});
