// What this browser can do: features are tried, browsers are not recognised by name.

/** A tiny module with one SIMD instruction: (func (result v128) (v128.const 0)). */
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

/** What the GPU backend's kernels need; WebGPU promises as much, compatibility modes do not. */
const LIMITS = { maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, maxStorageBuffersPerShaderStage: 8, maxStorageBufferBindingSize: 2 ** 27 };

/** Why this browser cannot run the page at all, in a sentence; an empty string if it can. */
export function missing() {
  if (!globalThis.WebAssembly) return "This browser has no WebAssembly, or it is switched off.";
  if (!WebAssembly.validate(SIMD)) return "This browser's WebAssembly has no SIMD instructions; a version of 2023 or newer has them.";
  let modules = false;
  // A browser that knows module workers reads this option.
  const options = { get type() { modules = true; return "module"; } };
  // Any module of ours that does nothing by itself.
  new Worker(new URL("./protocol.js", import.meta.url), options).terminate();
  return modules ? "" : "This browser has no module workers; a version of 2023 or newer has them.";
}

/** The name of a GPU as the browser tells it. */
function nameOf({ info = {} }) {
  const { description, vendor, architecture, device } = info;
  return description || [vendor, architecture, device].filter(Boolean).join(" ") || "GPU";
}

/** Which device can be asked for: {device, name, software, why}. */
export async function usableDevice(wanted, whyWanted) {
  const cpu = (why) => ({ device: "cpu", why });
  if (wanted === "cpu") return cpu(whyWanted);
  if (!navigator.gpu) return cpu("this browser has no WebGPU");
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return cpu("WebGPU found no adapter");
  const name = nameOf(adapter);
  // The backend measures its kernels from the start and cannot do without.
  if (!adapter.features.has("timestamp-query")) return cpu(`${name} has no timestamp queries`);
  const low = Object.keys(LIMITS).find((limit) => !(adapter.limits[limit] >= LIMITS[limit]));
  if (low) return cpu(`${name} has too low a ${low}`);
  // A GPU in software is slower than the CPU device; it is taken only when asked for.
  const software = Boolean(adapter.info?.isFallbackAdapter) || /swiftshader|llvmpipe|lavapipe|software|basic render/i.test(`${name} ${adapter.info?.architecture}`);
  if (software && wanted !== "gpu") return cpu(`the only WebGPU adapter is software: ${name}`);
  return { device: "gpu", name, software, why: "" };
}
