// What survives a reload: pictures, modules, choices and the last results, in IndexedDB. A full quota is told, not fatal.
import { clear, get, set } from "./vendor/idb-keyval.js";
import { fail } from "./dom.js";

const KEY = "loraloom";
let told = false;

export async function restore() {
  return get(KEY).catch(() => undefined);
}

export async function keep(state) {
  try {
    await set(KEY, state);
  } catch (error) {
    if (told) return;
    told = true;
    fail({ message: `This browser cannot keep your pictures for the next visit (${error.name}). Everything goes on; save a project file to keep it.` });
  }
}

export async function clearEverything() {
  await clear().catch(() => {});
  for (const name of (await globalThis.caches?.keys?.()) ?? []) await caches.delete(name);
}
