// Where models come from: the folder that ships, the Hugging Face Hub, or dropped files. All of them end as bytes that were
// checked against a SHA-256 where there is one.
import { say } from "./dom.js";

const HUB = "https://huggingface.co";
const PIECE = 8 * 2 ** 20;
const CACHE = "loraloom-models";

export const isHubId = (text) => /^[\w.-]+\/[\w.-]+$/.test(text);

async function get(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw { code: "download", message: `${url} cannot be reached; check the connection` };
  }
  if (!response.ok) throw { code: "download", message: `${url}: ${response.status} ${response.statusText}`.trim() };
  return response;
}

async function verify(bytes, sha256, label) {
  if (!sha256 || !globalThis.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = [...digest].map((value) => value.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw { code: "download", message: `${label} arrived damaged (its SHA-256 is not the stated one); load it again` };
}

const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

/** A folder of this site with a manifest: {name, files: {name: {bytes, sha256}}, modules: [{name, ...}]}. */
export async function shippedModel(folder) {
  const root = new URL(`./models/${folder}/`, location.href);
  const manifest = await (await get(new URL("manifest.json", root))).json();
  const names = Object.keys(manifest.files);
  const total = names.reduce((sum, name) => sum + manifest.files[name].bytes, 0);
  let done = 0;
  const load = async (name) => {
    const { bytes: size, sha256 } = manifest.files[name];
    const bytes = new Uint8Array(await (await get(new URL(name, root))).arrayBuffer());
    await verify(bytes, sha256, name);
    done += size;
    say(`loading the model: ${mib(done)} of ${mib(total)} MB`);
    return bytes;
  };
  const text = async (name) => new TextDecoder().decode(await load(name));
  const [config, preprocessor, weights] = await Promise.all([
    text("config.json"), text("preprocessor_config.json"), load("model.safetensors"),
  ]);
  const modules = [];
  for (const { name, card } of manifest.modules ?? []) {
    const [module, values] = await Promise.all([text(`modules/${name}/adapter_config.json`), load(`modules/${name}/adapter_model.safetensors`)]);
    modules.push({ name, config: module, weights: values, card, shipped: true });
  }
  return { model: { name: manifest.name, config, preprocessor, weights, source: { kind: "shipped", folder } }, modules };
}

/** A model of the Hub, in pieces that stay cached: a broken download goes on where it stopped. */
export async function hubModel(id) {
  say(`asking for ${id}`);
  const files = await (await get(`${HUB}/api/models/${id}/tree/main`)).json();
  const listed = (name) => files.find((file) => file.path === name);
  for (const name of ["config.json", "model.safetensors"]) {
    if (!listed(name)) throw { code: "download", message: `${id} has no ${name}; choose a ViT, DeiT or DINOv2 checkpoint in safetensors` };
  }
  const wanted = ["config.json", "preprocessor_config.json", "model.safetensors"].filter(listed);
  const total = wanted.reduce((sum, name) => sum + listed(name).size, 0);
  let done = 0;
  const step = (bytes) => {
    done += bytes;
    say(`downloading ${id}: ${mib(done)} of ${mib(total)} MB`);
  };
  const load = async (name) => {
    const { size, lfs, oid } = listed(name);
    const bytes = await pieces(`${HUB}/${id}/resolve/main/${name}`, size, lfs?.oid ?? oid, step);
    try {
      await verify(bytes, lfs?.oid, name);
    } catch (error) {
      await caches?.delete(CACHE);
      throw error;
    }
    return bytes;
  };
  const text = async (name) => (listed(name) ? new TextDecoder().decode(await load(name)) : undefined);
  return {
    name: id, config: await text("config.json"), preprocessor: await text("preprocessor_config.json"),
    weights: await load("model.safetensors"), source: { kind: "hub", id },
  };
}

async function pieces(url, size, version, step) {
  // Without a cache (private windows of some browsers) everything still works, only not twice.
  const cache = await globalThis.caches?.open(CACHE).catch(() => null);
  const bytes = new Uint8Array(size);
  for (let start = 0; start < size; start += PIECE) {
    const end = Math.min(start + PIECE, size);
    const key = `${url}?loraloom=${version}-${start}`;
    let piece = await (await cache?.match(key))?.arrayBuffer();
    if (piece?.byteLength !== end - start) {
      const response = await get(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
      const body = new Uint8Array(await response.arrayBuffer());
      // A server without ranges sends everything at once.
      const whole = response.status === 200;
      piece = (whole ? body.slice(start, end) : body).buffer;
      if (piece.byteLength !== end - start) throw { code: "download", message: `${url} ended early; try again` };
      // A full quota costs the cache, not the model.
      await cache?.put(key, new Response(piece)).catch(() => null);
    }
    bytes.set(new Uint8Array(piece), start);
    step(end - start);
  }
  return bytes;
}

/** config.json + model.safetensors (+ preprocessor_config.json). */
export async function droppedModel(files) {
  const find = (name) => files.find((file) => file.name === name);
  const [config, weights, preprocessor] = ["config.json", "model.safetensors", "preprocessor_config.json"].map(find);
  if (!config || !weights) throw { code: "mismatch", message: "drop config.json and model.safetensors together (and preprocessor_config.json if there is one)" };
  const text = (file) => file?.text();
  return {
    name: (weights.webkitRelativePath || "").split("/")[0] || "dropped model", config: await text(config), preprocessor: await text(preprocessor),
    weights: new Uint8Array(await weights.arrayBuffer()), source: { kind: "files" },
  };
}
