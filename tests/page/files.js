// Files that the tests make up: pictures, random models and modules, all from fixed seeds.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { crc32, deflateSync } from "node:zlib";

export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Normal numbers by the sum of twelve uniform ones. */
function normals(next, count, deviation) {
  return Float32Array.from({ length: count }, () => {
    let sum = -6;
    for (let i = 0; i < 12; i += 1) sum += next();
    return deviation * sum;
  });
}

export function safetensors(tensors) {
  const header = { __metadata__: { format: "pt" } };
  const parts = [];
  let offset = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...parts]);
}

const SIZES = { hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, image_size: 32, patch_size: 8 };

/** A random ViT in the Hugging Face layout: {file name: bytes}. */
export function tinyModel(seed = 1) {
  const next = random(seed);
  const { hidden_size: d, intermediate_size: m, patch_size: p, image_size: side } = SIZES;
  const tensors = {};
  const put = (name, shape, deviation) => {
    tensors[name] = { shape, values: normals(next, shape.reduce((a, b) => a * b), deviation) };
  };
  const linear = (name, inputs, outputs) => {
    put(`${name}.weight`, [outputs, inputs], 1.2 / Math.sqrt(inputs));
    put(`${name}.bias`, [outputs], 0.05);
  };
  const norm = (name) => {
    tensors[`${name}.weight`] = { shape: [d], values: new Float32Array(d).fill(1) };
    put(`${name}.bias`, [d], 0.02);
  };
  put("vit.embeddings.cls_token", [1, 1, d], 0.5);
  put("vit.embeddings.position_embeddings", [1, (side / p) ** 2 + 1, d], 0.2);
  put("vit.embeddings.patch_embeddings.projection.weight", [d, 3, p, p], 0.1);
  put("vit.embeddings.patch_embeddings.projection.bias", [d], 0.05);
  for (let layer = 0; layer < SIZES.num_hidden_layers; layer += 1) {
    const prefix = `vit.encoder.layer.${layer}`;
    norm(`${prefix}.layernorm_before`);
    for (const part of ["query", "key", "value"]) linear(`${prefix}.attention.attention.${part}`, d, d);
    linear(`${prefix}.attention.output.dense`, d, d);
    norm(`${prefix}.layernorm_after`);
    linear(`${prefix}.intermediate.dense`, d, m);
    linear(`${prefix}.output.dense`, m, d);
  }
  norm("vit.layernorm");
  linear("classifier", d, 5);
  const labels = Object.fromEntries([0, 1, 2, 3, 4].map((index) => [index, `label ${index}`]));
  const config = { architectures: ["ViTForImageClassification"], model_type: "vit", hidden_act: "gelu", layer_norm_eps: 1e-6, num_channels: 3, qkv_bias: true, id2label: labels, ...SIZES };
  const preprocessor = { do_resize: true, size: { height: side, width: side }, resample: 3, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
  return { "config.json": JSON.stringify(config), "preprocessor_config.json": JSON.stringify(preprocessor), "model.safetensors": safetensors(tensors) };
}

/** A random PEFT module on query and fc1 for a model's config: {file name: bytes}. */
export function module(config, seed, rank = 2) {
  const next = random(seed);
  const { hidden_size: d, intermediate_size: m, num_hidden_layers: depth } = config;
  const tensors = {};
  for (let layer = 0; layer < depth; layer += 1) {
    for (const [part, outputs] of [["attention.attention.query", d], ["intermediate.dense", m]]) {
      const key = `base_model.model.vit.encoder.layer.${layer}.${part}`;
      tensors[`${key}.lora_A.weight`] = { shape: [rank, d], values: normals(next, rank * d, 0.3) };
      tensors[`${key}.lora_B.weight`] = { shape: [outputs, rank], values: normals(next, outputs * rank, 0.1) };
    }
  }
  const json = { peft_type: "LORA", r: rank, lora_alpha: rank, target_modules: ["query", "intermediate.dense"], base_model_name_or_path: "" };
  return { "adapter_config.json": JSON.stringify(json), "adapter_model.safetensors": safetensors(tensors) };
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

/** A square picture of stripes: the class decides their direction and colour. */
export function png(kind, seed, side = 40) {
  const next = random(1000 * kind + seed + 7);
  next();
  const [period, phase] = [4 + 6 * next(), 10 * next()];
  const rows = [];
  for (let y = 0; y < side; y += 1) {
    const row = Buffer.alloc(1 + 3 * side);
    for (let x = 0; x < side; x += 1) {
      const along = [x, y, x + y, Math.hypot(x - side / 2, y - side / 2)][kind % 4];
      const on = Math.sin((2 * Math.PI * (along + phase)) / period) > 0;
      const color = [[220, 60, 40], [40, 160, 220], [60, 200, 90], [230, 200, 60]][kind % 4];
      for (let channel = 0; channel < 3; channel += 1) {
        row[1 + 3 * x + channel] = Math.max(0, Math.min(255, (on ? color[channel] : 40) + 60 * (next() - 0.5)));
      }
    }
    rows.push(row);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** Pictures of one class, as Playwright's file inputs take them. */
export function pictures(kind, count, first = 0) {
  return Array.from({ length: count }, (_, index) => ({ name: `kind${kind}-${first + index}.png`, mimeType: "image/png", buffer: png(kind, first + index) }));
}

export function writeFolder(folder, files) {
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
}
