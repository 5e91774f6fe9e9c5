// Zips in and out, and saving files. A worker of its own does the work, so that the page stays quick.
function job(message, name) {
  const worker = new Worker(new URL("./archive-worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    const bad = (reason) => reject({ code: "mismatch", message: `${name}: ${reason}` });
    worker.addEventListener("message", ({ data }) => (data.error ? bad(data.error) : resolve(data.result)));
    worker.addEventListener("error", (event) => bad(event.message || "the zip worker stopped"));
    worker.postMessage(message);
  }).finally(() => worker.terminate());
}

/** A zip's files as {path: Blob}. */
export const unzip = (file) => job({ unzip: file }, file.name);

/** {path: Blob | text} as a zip. */
export const zip = (files) => job({ zip: files }, "nothing was saved");

export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
