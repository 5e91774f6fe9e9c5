// What survives a reload, in IndexedDB: each picture and module once, and a small record of the rest. A full quota is told,
// not fatal.
import { clear, createStore, delMany, get, getMany, keys, set, setMany } from "./vendor/idb-keyval.js";
import { $, fail } from "./dom.js";

const STATE = "state";
const FILE = "file/";
const AT_ONCE = 25;
/** Another page of the same origin may use the same library: this store is ours alone. */
const own = createStore("loraloom", "kept");
/** Where a blob is kept. */
const places = new WeakMap();
const KEPT = $("kept").textContent;
let jobs = Promise.resolve();
let told = false;

/** The last state, with its blobs; undefined on a first visit or where nothing can be kept. */
export async function restore() {
  try {
    const state = await get(STATE, own);
    return state && (await mapBlobs(state, load));
  } catch {
    return undefined;
  }
}

/** Keeps a state: plain data with blobs anywhere in it. */
export function keep(state) {
  jobs = jobs.then(() => write(state)).then(() => ($("kept").textContent = KEPT)).catch((error) => {
    $("kept").textContent = "Pictures, modules and results are not kept: this browser has no room for them. Save a project file.";
    if (told) return;
    told = true;
    fail({ message: `This browser cannot keep your pictures for the next visit (${error.name}). Everything goes on; save a project file to keep it.` });
  });
  return jobs;
}

export async function clearEverything() {
  await jobs;
  await clear(own).catch(() => {});
  // Other pages of the same origin keep what is theirs.
  const scope = new URL("./", location.href).href;
  for (const name of (await globalThis.caches?.keys?.()) ?? []) if (name.startsWith("loraloom-") || name.endsWith(scope)) await caches.delete(name);
  for (const worker of (await navigator.serviceWorker?.getRegistrations?.()) ?? []) if (worker.scope === scope) await worker.unregister();
}

async function write(state) {
  // What the store has, not what was once put there: another tab, or an undo, may have changed that.
  const stored = new Set(await keys(own));
  const fresh = new Map();
  const used = new Set();
  const record = await mapBlobs(state, (value) => value, (blob) => {
    if (!places.has(blob)) places.set(blob, `${FILE}${Date.now()}-${Math.random()}`);
    const place = places.get(blob);
    if (!stored.has(place)) fresh.set(place, blob);
    used.add(place);
    return { place };
  });
  const entries = [...fresh];
  for (let start = 0; start < entries.length; start += AT_ONCE) await setMany(entries.slice(start, start + AT_ONCE), own);
  await set(STATE, record, own);
  const unused = (await keys(own)).filter((key) => String(key).startsWith(FILE) && !used.has(key));
  if (unused.length) await delMany(unused, own);
}

async function load(place) {
  const [blob] = await getMany([place], own);
  if (blob) places.set(blob, place);
  return blob;
}

/** A copy of plain data in which records of blobs, or blobs, are replaced; what is gone is left out. */
async function mapBlobs(value, byPlace, byBlob = (blob) => blob) {
  if (value instanceof Blob) return byBlob(value);
  if (typeof value?.place === "string") return byPlace(value.place);
  if (value === null || typeof value !== "object" || typeof value[0] === "number") return value;
  if (Array.isArray(value)) return (await Promise.all(value.map((own) => mapBlobs(own, byPlace, byBlob)))).filter((own) => own !== undefined);
  const pairs = await Promise.all(Object.entries(value).map(async ([key, own]) => [key, await mapBlobs(own, byPlace, byBlob)]));
  return Object.fromEntries(pairs);
}
