// One zip, packed or unpacked; the page ends this worker afterwards.
import { Zip, ZipPassThrough, unzipSync } from "./vendor/fflate.js";

/** A zip can claim any size; what is larger than this is no project and no module. */
const LIMIT = 2 ** 31;

/** A path as the page reads it. Some programs put backslashes between folders; macOS writes UTF-8 and does not say so, which is
 *  then read as Latin-1. */
function plain(name) {
  const path = name.replaceAll("\\", "/");
  if (/[^\0-\xff]/.test(path)) return path;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(path, (letter) => letter.charCodeAt(0)));
  } catch {
    return path;
  }
}

async function unpack(file) {
  let total = 0;
  const filter = ({ name, originalSize }) => {
    total += originalSize;
    if (total > LIMIT) throw new Error("it unpacks to more than 2 GB");
    return !plain(name).endsWith("/");
  };
  const files = unzipSync(new Uint8Array(await file.arrayBuffer()), { filter });
  return Object.fromEntries(Object.entries(files).map(([path, bytes]) => [plain(path), new Blob([bytes])]));
}

/** A file's bytes; it can be moved or changed on disk after it was chosen. */
async function bytesOf(path, blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new Error(`${blob.name ?? path} cannot be read any more; remove it or choose it again`);
  }
}

/** File by file: a blob is the browser's to keep, on disk if it is large, so that one file at a time is in memory. */
async function pack(files) {
  const entries = Object.entries(files).map(([path, value]) => [path, value instanceof Blob ? value : new Blob([value])]);
  // What could not be opened again is not saved.
  if (entries.reduce((sum, [, blob]) => sum + blob.size, 0) > LIMIT) throw new Error("it would be larger than 2 GB; remove some pictures");
  const parts = [];
  let chunks = [];
  const archive = new Zip((error, chunk) => {
    if (error) throw error;
    chunks.push(chunk);
  });
  const flush = () => {
    parts.push(new Blob(chunks));
    chunks = [];
  };
  for (const [path, blob] of entries) {
    // Pictures and weights do not shrink.
    const entry = new ZipPassThrough(path);
    archive.add(entry);
    entry.push(await bytesOf(path, blob), true);
    flush();
  }
  archive.end();
  flush();
  return new Blob(parts, { type: "application/zip" });
}

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ result: data.unzip ? await unpack(data.unzip) : await pack(data.zip) });
  } catch (error) {
    postMessage({ error: data.unzip ? `this is not a zip that can be read (${error.message})` : error.message });
  }
});
