// Single pictures: reading a file, painting what the model sees of it, the button that takes it away.
import { element } from "./dom.js";

/** Largest side of what is painted of a picture, in pixels: of large models the whole crops would take too much memory. */
const PAINTED = 128;
/** Shorter side of a converted picture, in pixels. */
const CONVERTED = 1024;

/** One file as the model sees it: {id, name, file, canvas, generation}. */
export async function read(engine, file) {
  const plain = await converted(file);
  const { id, width, height, rgba } = await engine.addPicture(plain.name, plain);
  return { id, name: plain.name, file: plain, canvas: painted(new ImageData(rgba, width, height)), generation: engine.generation };
}

/** HEIC and AVIF, which phones make and only browsers read, as PNG; every other file as it is. */
async function converted(file) {
  const head = new Uint8Array(await file.slice(4, 8).arrayBuffer().catch(() => new ArrayBuffer(0)));
  if (String.fromCharCode(...head) !== "ftyp") return file;
  const bitmap = await createImageBitmap(file).catch(() => null);
  const png = bitmap && (await new Promise((resolve) => reduced(bitmap).toBlob(resolve)));
  // Decoded photos are large, and the browser would free them when it likes.
  bitmap?.close();
  if (!png) throw { code: "bad-image", message: `${file.name}: this browser cannot read it; save it as JPEG or PNG first` };
  return new File([png], `${file.name.replace(/\.[^.]*$/, "")}.png`, { type: "image/png" });
}

/** A picture no larger than any model asks for: as PNG a whole photo would take twenty megabytes. */
function reduced(bitmap) {
  const scale = Math.min(1, CONVERTED / Math.min(bitmap.width, bitmap.height));
  const canvas = element("canvas", { width: Math.round(scale * bitmap.width), height: Math.round(scale * bitmap.height) });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A crop as a canvas. */
export function painted(pixels) {
  const { width, height } = pixels;
  const whole = element("canvas", { width, height });
  // Small pictures that are painted once: the GPU would only add its own start-up.
  whole.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
  const scale = PAINTED / Math.max(width, height);
  if (scale >= 1) return whole;
  const small = element("canvas", { width: Math.round(scale * width), height: Math.round(scale * height) });
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, small.width, small.height);
  return small;
}

/** Where nothing hovers a person cannot see beforehand what a tap does. */
const hovers = () => matchMedia("(hover: hover)").matches;

/** A picture that a click takes away; a finger's first tap only shows that it would. */
export function thumb(picture, remove) {
  const button = element("button", { type: "button", class: "thumb", title: `${picture.name}: remove`, "aria-label": `Remove ${picture.name}`,
    onclick: (event) => {
      const byFinger = event.detail > 0 && !hovers();
      if (!byFinger || button.classList.contains("armed")) return remove();
      for (const other of document.querySelectorAll(".thumb.armed")) other.classList.remove("armed");
      button.classList.add("armed");
    } }, picture.canvas);
  button.picture = picture;
  return button;
}

/** How an undo is told of: only who has keys can press them. */
export const undoable = (text) => (hovers() ? `${text}; Ctrl+Z undoes` : text);
