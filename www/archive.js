// Zips in and out, and saving files.
import { unzip as unzipBytes, zip as zipBytes } from "./vendor/fflate.js";

/** A zip's files as {path: bytes}. */
export async function unzip(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return new Promise((resolve, reject) => {
    const done = (error, files) => (error ? reject({ code: "mismatch", message: `${file.name} is not a zip that can be read: ${error.message}` }) : resolve(files));
    unzipBytes(bytes, { consume: false }, done);
  });
}

/** {path: bytes | text} as a zip. */
export async function zip(files) {
  const encoder = new TextEncoder();
  const entries = Object.entries(files).map(([path, value]) => [path, typeof value === "string" ? encoder.encode(value) : value]);
  return new Promise((resolve, reject) => {
    // Pictures and weights do not shrink; storing them keeps the page quick.
    zipBytes(Object.fromEntries(entries), { level: 0 }, (error, bytes) => (error ? reject(error) : resolve(new Blob([bytes], { type: "application/zip" }))));
  });
}

export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
