// What survives a reload, in IndexedDB: each picture and module once, and a small record of the rest. One tab keeps; a full
// quota is told, not fatal.
import { clear, createStore, get, getMany, keys, promisifyRequest } from "./vendor/idb-keyval.js";
import { $, fail } from "./dom.js";

const STATE = "state";
const FILE = "file/";
const LOCK = "loraloom-keeps";
/** So many files go into one transaction, so that none holds the page up. */
const AT_ONCE = 25;
/** Another page of the same origin may use the same library: this store is ours alone. */
const own = createStore("loraloom", "kept");
/** Where a blob is kept. */
const places = new WeakMap();
/** What the store had when it was asked last; the last moment of a page has no time to ask. */
let stored = new Set();
/** When the state that was read or written last was written. */
let written = null;
const KEPT = $("kept").textContent;
let jobs = Promise.resolve();
let told = false;
let keeps = false;
/** Why the store could not be opened, if it could not: in this visit nothing is written over what it may have. */
let closed = null;
/** Whether the browser was asked to hold on to what is kept. */
let asked = false;
/** Counts what was kept at once: a write that began before has nothing to add. */
let overtaken = 0;
/** A state that waits for its turn to be written. */
let waiting = null;
/** States that were to be kept, and the last of them that is written. */
let given = 0;
let safe = 0;

/** {state?, lost?}: the last state with its blobs, none on a first visit or where nothing can be kept, and what a person
 *  has to know of what is not in it. */
export async function restore() {
  try {
    await own("readonly", () => {});
  } catch (error) {
    // Told once there is something to keep.
    closed = error ?? {};
    keeps = true;
    return {};
  }
  let record;
  try {
    record = await get(STATE, own);
  } catch (error) {
    // Not a first visit: what would be kept from now on would take the place of what is there.
    return { lost: unreadable(error) };
  }
  written = record?.written ?? null;
  takeOver();
  const lost = [];
  const state = record && (await withBlobs(record, lost));
  const what = lost.length === 1 ? "1 file of your last visit is" : `${lost.length} files of your last visit are`;
  return { state, lost: lost.length ? `${what} left out, which this browser can no longer read: add what is missing again` : undefined };
}

/** Says that nothing is kept in this visit, and gives the reason in words. */
function unreadable(error) {
  note("Nothing is kept in this visit: what was kept before cannot be read. It is still there: reload the page to try again.");
  return `This browser cannot read what was kept of your last visit (${error?.name ?? "it says no reason"}). Nothing was deleted, and nothing is kept in this visit: reload the page to try again; save a project file first to keep what you add here.`;
}

/** Two tabs that keep would take turns in undoing each other: the first one does, the next one when that is closed. */
async function takeOver() {
  if (!navigator.locks) return begin();
  const patience = setTimeout(() => warn("Another tab of this page keeps its pictures; what you do here is kept once that one is closed."), 1000);
  navigator.locks.request(LOCK, async () => {
    clearTimeout(patience);
    if (((await get(STATE, own))?.written ?? null) !== written) return warn("Another tab has kept other pictures meanwhile: save a project here to keep these, then reload.");
    await begin();
    return new Promise(() => {}); // Until this tab is gone.
  }).catch((error) => {
    clearTimeout(patience);
    fail({ message: unreadable(error) });
  });
}

async function begin() {
  stored = new Set(await keys(own).catch(() => []));
  keeps = true;
  note(KEPT);
  if (waiting) keep(waiting);
}

const note = (text) => ($("kept").textContent = text);

/** Down there nobody looks who is about to lose something. */
function warn(text) {
  note(text);
  fail({ message: text });
}

/** Keeps a state: plain data with blobs anywhere in it. Says whether it is written, or one that came after it. */
export function keep(state) {
  const number = ++given;
  waiting = state;
  if (!keeps) return Promise.resolve(false);
  jobs = jobs.then(write).then((done) => done && note(KEPT)).catch((error) => {
    note("Pictures, modules and results are not kept: this browser has no room for them. Save a project file.");
    if (told) return;
    told = true;
    fail({ message: `This browser cannot keep your pictures for the next visit (${error?.name ?? "it says no reason"}). Everything goes on; save a project file to keep it.` });
  });
  return jobs.then(() => safe >= number);
}

/** Writes a state in the last moment of a page: one transaction, asked for at once. */
export function keepAtOnce(state) {
  // It may still be kept when the tab that keeps is closed.
  waiting = keeps ? null : state;
  if (!keeps || closed) return;
  overtaken += 1;
  const number = ++given;
  // Where the page is still there it tries again, and tells.
  put(split(state)).then(() => (safe = Math.max(safe, number)), () => keep(state));
}

export async function clearEverything() {
  keeps = false;
  await jobs;
  await clear(own).catch(() => {});
  // Other pages of the same origin keep what is theirs.
  const scope = new URL("./", location.href).href;
  for (const name of (await globalThis.caches?.keys?.()) ?? []) if (name.startsWith("loraloom-") || name.endsWith(scope)) await caches.delete(name);
  for (const worker of (await navigator.serviceWorker?.getRegistrations?.()) ?? []) if (worker.scope === scope) await worker.unregister();
}

/** The state that waits; a later one has taken the place of those before it. */
async function write() {
  if (closed) throw closed;
  if (!waiting) return false;
  const before = overtaken;
  // Another tab may have cleared everything.
  stored = new Set(await keys(own));
  if (!waiting) return false;
  const { record, fresh, used } = split(waiting);
  const number = given;
  waiting = null;
  while (fresh.length > AT_ONCE) await put({ fresh: fresh.splice(0, AT_ONCE) });
  if (before !== overtaken) return false;
  await put({ record, fresh, used });
  safe = Math.max(safe, number);
  // Without this a browser that runs out of room may drop what it holds for a page.
  // It may ask a person, who may never answer: nothing waits for that.
  if (used.size && !asked) navigator.storage?.persist?.().catch(() => {});
  asked ||= used.size > 0;
  return true;
}

/** One transaction: new files, and with a record everything that it does not use goes. */
async function put({ record, fresh, used }) {
  const unused = record ? [...stored].filter((key) => String(key).startsWith(FILE) && !used.has(key)) : [];
  await own("readwrite", (store) => {
    for (const [place, blob] of fresh) store.put(blob, place);
    for (const place of unused) store.delete(place);
    if (record) store.put(record, STATE);
    // A page that goes away waits for no answers; what is committed is kept all the same.
    store.transaction.commit?.();
    return promisifyRequest(store.transaction);
  });
  for (const [place] of fresh) stored.add(place);
  for (const place of unused) stored.delete(place);
  if (record) written = record.written;
}

/** A state as plain data with places instead of blobs, the blobs that the store has not, and all places. */
function split(state) {
  const fresh = new Map();
  const used = new Set();
  const record = mapBlobs(state, (blob) => {
    if (!places.has(blob)) places.set(blob, `${FILE}${Date.now()}-${Math.random()}`);
    const place = places.get(blob);
    if (!stored.has(place)) fresh.set(place, blob);
    used.add(place);
    return { place };
  });
  return { record: { ...record, written: `${Date.now()}-${Math.random()}` }, fresh: [...fresh], used };
}

/** A copy of plain data in which blobs are replaced. */
function mapBlobs(value, change) {
  if (value instanceof Blob) return change(value);
  if (value === null || typeof value !== "object" || typeof value[0] === "number") return value;
  if (Array.isArray(value)) return value.map((each) => mapBlobs(each, change));
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, mapBlobs(each, change)]));
}

/** A copy of a record in which places are blobs again; what is gone is left out, its place goes to `lost`. */
async function withBlobs(value, lost) {
  const again = (each) => withBlobs(each, lost);
  if (typeof value?.place === "string") return (await load(value.place).catch(() => undefined)) ?? (lost.push(value.place), undefined);
  if (value === null || typeof value !== "object" || typeof value[0] === "number") return value;
  if (Array.isArray(value)) return (await Promise.all(value.map(again))).filter((each) => each !== undefined);
  return Object.fromEntries(await Promise.all(Object.entries(value).map(async ([key, each]) => [key, await again(each)])));
}

async function load(place) {
  const [blob] = await getMany([place], own);
  if (blob) places.set(blob, place);
  return blob;
}

/** The kept copy of a file that cannot be read any more where it was chosen. */
export async function keptCopy(blob) {
  const place = places.get(blob);
  return place && stored.has(place) ? load(place).catch(() => undefined) : undefined;
}
