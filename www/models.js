// Where models come from: the folder that ships, the Hugging Face Hub, or dropped files. All of them end as blobs that were
// checked against the digest that was stated for them.
import { fail, say } from "./dom.js";

const HUB = "https://huggingface.co";
const PIECE = 8 * 2 ** 20;
const CACHE = "loraloom-models";
const WANTED = ["config.json", "preprocessor_config.json", "model.safetensors"];

export const isHubId = (text) => /^[\w.-]+\/[\w.-]+$/.test(text);

/** What is being fetched can be ended, by a person or by another choice. */
let current = new AbortController();

/** Ends what is being fetched; what has arrived stays in the cache. */
export function cancelDownloads() {
  current.abort();
  current = new AbortController();
}

const cancelled = () => ({ code: "cancelled", message: "the download was stopped; load it again and it goes on from here" });

async function get(url, options) {
  const { signal } = current;
  let response;
  try {
    response = await fetch(url, { ...options, signal });
  } catch {
    if (signal.aborted) throw cancelled();
    throw { code: "download", message: `${url} cannot be reached; check the connection` };
  }
  if (!response.ok) throw { code: "download", message: `${url}: ${response.status} ${response.statusText}`.trim() };
  return response;
}

const hex = (buffer) => [...new Uint8Array(buffer)].map((value) => value.toString(16).padStart(2, "0")).join("");

const shortDigest = async (blob) => (globalThis.crypto?.subtle ? hex(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer())).slice(0, 8) : `of ${blob.size} bytes`);

let told = false;

async function verify(blob, { sha256, git }, label) {
  if (!(sha256 || git)) return;
  if (!globalThis.crypto?.subtle) {
    if (!told) fail({ message: "Downloads cannot be checked on this page, because it was not opened over https." });
    told = true;
    return;
  }
  // Git names a file by the SHA-1 of its length and content.
  const content = sha256 ? blob : new Blob([`blob ${blob.size}\0`, blob]);
  const found = hex(await crypto.subtle.digest(sha256 ? "SHA-256" : "SHA-1", await content.arrayBuffer()));
  if (found !== (sha256 ?? git)) throw { code: "download", message: `${label} arrived damaged (its digest is not the stated one); load it again` };
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** Tells how much of a total has arrived. */
function meter(label, total) {
  let done = 0;
  const { signal } = current;
  return (bytes) => {
    // What was ended between two requests ends here.
    if (signal.aborted) throw cancelled();
    done += bytes;
    say(`${label}: ${megabytes(done)} of ${megabytes(total)} MB`, done / total);
  };
}

/** Fetches, or takes what was kept when there is no network. The embedded model is kept by the service worker. */
async function getKept(url) {
  const cache = await openCache();
  try {
    const response = await get(url);
    await cache?.put(url, response.clone()).catch(() => null);
    return response;
  } catch (error) {
    const kept = error.code === "cancelled" ? null : await cache?.match(url);
    if (!kept) throw error;
    return kept;
  }
}

/** A folder of this site with a manifest: {name, hub?, files: {path: {bytes, sha256}}, modules: [{name, card?}]}; `fetched`
 *  is how its files come. */
async function folder(name, fetched = get) {
  const root = new URL(`./models/${name}/`, location.href);
  const manifest = JSON.parse(await (await whole(await fetched(new URL("manifest.json", root)))).text());
  const total = Object.values(manifest.files).reduce((sum, { bytes }) => sum + bytes, 0);
  const step = meter(manifest.files["model.safetensors"] ? "loading the model" : "loading its modules", total);
  const load = async (path) => {
    const { bytes: size, sha256 } = manifest.files[path];
    const blob = await whole(await fetched(new URL(path, root)));
    if (blob.size !== size) throw { code: "download", message: `${path} ended early; load it again` };
    await verify(blob, { sha256 }, path);
    step(size);
    return blob;
  };
  return { manifest, load };
}

async function whole(response) {
  const { signal } = current;
  try {
    return await response.blob();
  } catch {
    if (signal.aborted) throw cancelled();
    throw { code: "download", message: `${response.url} broke off; load it again` };
  }
}

/** All of some work, or its first failure once none of it goes on: what is under way would speak after the failure. */
async function all(work) {
  const ended = await Promise.allSettled(work);
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  return ended.map(({ value }) => value);
}

async function modulesOf({ manifest, load }) {
  const modules = [];
  for (const { name, card } of manifest.modules ?? []) {
    const [config, weights] = await all(["adapter_config.json", "adapter_model.safetensors"].map((file) => load(`modules/${name}/${file}`)));
    modules.push({ name, config: await config.text(), weights, card, shipped: true });
  }
  return modules;
}

/** A model that ships with the page, and its modules, at an input size if one is asked for. */
export async function shippedModel(name, imgSize) {
  const own = await folder(name);
  if (!own.manifest.files["model.safetensors"]) throw { code: "mismatch", message: `${name}: its modules ship and the model does not; name it as the Hub does, owner/name` };
  const [config, preprocessor, weights] = await all(WANTED.map((path) => own.load(path)));
  const model = { name: own.manifest.name, config: await config.text(), preprocessor: await preprocessor.text(), weights,
    imgSize, source: { kind: "shipped", name, imgSize } };
  return { model, modules: await modulesOf(own) };
}

/** What ships: [{folder, name, hub?, img_size?}]. */
const shipped = () => getKept(new URL("./models/index.json", location.href)).then((response) => response.json()).catch(() => []);

/** The folder of the model that ships under a name, if there is one. */
export const shippedAs = async (name) => (await shipped()).find((own) => !own.hub && own.name === name)?.folder;

/** The modules that ship for a model of the Hub, those for the nearest input size: modules teach a model its size, too.
 *  A model without its modules is still a model. */
async function hubModules(id, imgSize) {
  const fitting = (await shipped()).filter(({ folder: name, hub }) => (hub ? hub === id : name === id.split("/").at(-1)));
  if (!fitting.length) return [];
  const away = ({ img_size: side }) => Math.abs((side ?? imgSize) - imgSize);
  const own = fitting.reduce((best, other) => (away(other) < away(best) ? other : best));
  try {
    return await modulesOf(await folder(own.folder, getKept));
  } catch (error) {
    if (error.code === "cancelled") throw error;
    fail({ message: `the modules for ${id} are left out: ${error.message}` });
    return [];
  }
}

/** A model of the Hub, in pieces that stay cached: a broken download goes on where it stopped. `imgSize` is the side of its
 *  input in pixels; absent it is the model's own. */
export async function hubModel(id, imgSize) {
  say(`asking for ${id}`);
  const listing = await list(id);
  for (const name of ["config.json", "model.safetensors"]) {
    if (!listing[name]) throw { code: "download", message: `${id} has no ${name}; choose a ViT, DeiT or DINOv2 checkpoint in safetensors` };
  }
  const wanted = WANTED.filter((name) => listing[name]);
  const step = meter(`downloading ${id}`, wanted.reduce((sum, name) => sum + listing[name].size, 0));
  const files = {};
  for (const name of wanted) {
    const { size, lfs, oid } = listing[name];
    const url = `${HUB}/${id}/resolve/main/${name}`;
    files[name] = await pieces(url, size, lfs?.oid ?? oid, step);
    try {
      await verify(files[name], lfs ? { sha256: lfs.oid } : { git: oid }, name);
    } catch (error) {
      await forget(url);
      throw error;
    }
  }
  const model = { name: id, config: await files["config.json"].text(), preprocessor: await files["preprocessor_config.json"]?.text(),
    weights: files["model.safetensors"], imgSize, source: { kind: "hub", id, imgSize } };
  return { model, modules: await hubModules(id, imgSize ?? ownSize(model.config)) };
}

/** The side of the input that a configuration states, if it is one that can be read. */
function ownSize(config) {
  try {
    return JSON.parse(config).image_size;
  } catch {
    return undefined;
  }
}

/** What the Hub says of a model's files; the last answer is kept for when there is no network. */
async function list(id) {
  const url = `${HUB}/api/models/${id}/tree/main`;
  const cache = await openCache();
  const files = await get(url).then((response) => response.json()).catch(async (error) => {
    const kept = error.code === "cancelled" ? null : await cache?.match(url);
    if (!kept) throw error;
    return kept.json();
  });
  await cache?.put(url, new Response(JSON.stringify(files))).catch(() => null);
  return Object.fromEntries(files.map((file) => [file.path, file]));
}

// Without a cache (private windows of some browsers) everything still works, only not twice.
const openCache = async () => (await globalThis.caches?.open(CACHE).catch(() => null)) ?? null;

async function forget(url) {
  const cache = await openCache();
  for (const request of (await cache?.keys()) ?? []) if (request.url.startsWith(url)) await cache.delete(request);
}

async function pieces(url, size, version, step) {
  const cache = await openCache();
  const key = (start) => `${url}?loraloom=${version}-${start}`;
  const parts = [];
  const take = async (start, piece) => {
    parts.push(piece);
    // A full quota costs the cache, not the model.
    await cache?.put(key(start), new Response(piece)).catch(() => null);
  };
  for (let start = 0; start < size; start = PIECE * parts.length) {
    const end = Math.min(start + PIECE, size);
    const kept = await (await cache?.match(key(start)))?.blob();
    if (kept?.size === end - start) {
      parts.push(kept);
      step(kept.size);
      continue;
    }
    const response = await get(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
    // A server without ranges sends everything at once.
    const whole = response.status === 200;
    const body = await read(response, step, whole ? start : 0);
    if (body.size !== (whole ? size : end - start)) throw { code: "download", message: `${url} ended early; load it again and it goes on from here` };
    if (!whole) await take(start, body);
    else for (let at = start; at < size; at += PIECE) await take(at, body.slice(at, at + PIECE));
  }
  return new Blob(parts);
}

/** A body as a blob, telling how many bytes came in; the first `known` ones were told before. */
async function read(response, step, known) {
  const chunks = [];
  const { signal } = current;
  let skip = known;
  try {
    for (let reader = response.body.getReader(), own = await reader.read(); !own.done; own = await reader.read()) {
      chunks.push(own.value);
      const old = Math.min(skip, own.value.length);
      skip -= old;
      step(own.value.length - old);
    }
  } catch (error) {
    if (signal.aborted || error.code === "cancelled") throw cancelled();
    throw { code: "download", message: `${response.url} broke off; load it again and it goes on from here` };
  }
  return new Blob(chunks);
}

/** config.json + model.safetensors (+ preprocessor_config.json). */
export async function droppedModel(files) {
  const [config, preprocessor, weights] = WANTED.map((name) => files.find((file) => file.name === name));
  if (!config || !weights) throw { code: "mismatch", message: "choose config.json and model.safetensors together (and preprocessor_config.json if there is one)" };
  // Files without a folder have no name of their own; results of two of them must not pass for one another's.
  const name = (weights.path || weights.webkitRelativePath || "").split("/").at(-2) || `dropped model ${await shortDigest(weights)}`;
  return { model: { name, config: await config.text(), preprocessor: await preprocessor?.text(), weights, source: { kind: "files" } }, modules: [] };
}

/** The embedded model by its folder's name or as the command line calls it, or a model of the Hub by its id, at an input size if one is asked for. */
export async function namedModel(name, imgSize) {
  if (isHubId(name)) return hubModel(name, imgSize);
  const { signal } = current;
  const own = name === "embedded" ? "base" : ((await shippedAs(name)) ?? name);
  // Ended while what ships was looked up.
  if (signal.aborted) throw cancelled();
  return shippedModel(own, imgSize);
}
