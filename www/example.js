// The built-in example task: the signs of six planets as if written by hand. Every picture has its own slant, stretch, pen, ink and paper,
// dark or light, and none of these says anything about the class. Modules that learned alphabets and digits help here.

const SIDE = 112;

function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/** Points on an arc, from one angle to another in turns, clockwise from the right. */
const arc = (x, y, radius, from, to, count = 9) =>
  Array.from({ length: count }, (_, index) => {
    const angle = 2 * Math.PI * (from + ((to - from) * index) / (count - 1));
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });

/** Strokes of every sign, in a square from -1 to 1. */
const SIGNS = {
  mercury: [arc(0, -0.15, 0.38, -0.25, 0.75), arc(0, -0.95, 0.42, 0.5, 0), [[0, 0.23], [0, 1]], [[-0.32, 0.62], [0.32, 0.62]]],
  venus: [arc(0, -0.4, 0.5, 0.25, 1.25), [[0, 0.1], [0, 1]], [[-0.38, 0.55], [0.38, 0.55]]],
  mars: [arc(-0.2, 0.3, 0.52, -0.12, 0.88), [[0.17, -0.07], [0.85, -0.8]], [[0.35, -0.85], [0.85, -0.8], [0.82, -0.25]]],
  jupiter: [[[-0.7, -0.55], [-0.45, -0.85], [-0.1, -0.75], [0, -0.4], [-0.25, 0.05], [-0.75, 0.4], [0.8, 0.4]], [[0.4, -0.8], [0.42, 0.95]]],
  saturn: [[[-0.35, -1], [-0.35, 0.6]], [[-0.75, -0.65], [0.1, -0.65]], [[-0.35, 0], [0, -0.3], [0.4, -0.15], [0.45, 0.2], [0.15, 0.6], [0.3, 0.95], [0.6, 0.8]]],
  neptune: [[[-0.65, -0.8], [-0.6, -0.2], [-0.3, 0.15], [0, 0.2], [0.3, 0.15], [0.6, -0.2], [0.65, -0.8]], [[0, -0.95], [0, 1]], [[-0.35, 0.62], [0.35, 0.62]]],
};

export const EXAMPLE_CLASSES = Object.keys(SIGNS);

/** About normal, from four even draws; of spread 1. */
const bell = (next) => (next() + next() + next() + next() - 2) * 1.73;

/** How one picture's hand moves a point: slanted, stretched, turned, and unsteady. */
function hand(next) {
  const [turn, slant] = [0.1 * bell(next), 0.15 * bell(next)];
  const [width, height] = [SIDE * (0.3 + 0.06 * bell(next)), SIDE * (0.33 + 0.05 * bell(next))];
  const [left, top] = [SIDE * (0.5 + 0.04 * bell(next)), SIDE * (0.5 + 0.04 * bell(next))];
  return ([x, y]) => {
    const [across, down] = [width * (x - slant * y + 0.045 * bell(next)), height * (y + 0.045 * bell(next))];
    return [left + across * Math.cos(turn) - down * Math.sin(turn), top + across * Math.sin(turn) + down * Math.cos(turn)];
  };
}

/** A line through points, rounded at each. */
function stroke(context, points) {
  context.beginPath();
  context.moveTo(...points[0]);
  for (let at = 1; at < points.length - 1; at += 1) {
    const [[x, y], [nextX, nextY]] = [points[at], points[at + 1]];
    const last = at === points.length - 2;
    context.quadraticCurveTo(x, y, last ? nextX : (x + nextX) / 2, last ? nextY : (y + nextY) / 2);
  }
  if (points.length === 2) context.lineTo(...points[1]);
  context.stroke();
}

function draw(kind, seed) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const next = random(seed * 7919 + 17);
  for (let warm = 0; warm < 5; warm += 1) next();
  const hue = 360 * next();
  const dark = next() < 0.5;
  context.fillStyle = `hsl(${hue} 30% ${dark ? 12 + 14 * next() : 80 + 14 * next()}%)`;
  context.fillRect(0, 0, SIDE, SIDE);
  context.strokeStyle = `hsl(${hue + 60 + 240 * next()} 45% ${dark ? 75 + 15 * next() : 20 + 20 * next()}%)`;
  Object.assign(context, { lineWidth: 2 + 4 * next(), lineCap: "round", lineJoin: "round" });
  const place = hand(next);
  for (const points of SIGNS[kind]) stroke(context, points.map(place));
  const image = context.getImageData(0, 0, SIDE, SIDE);
  for (let at = 0; at < image.data.length; at += 4) {
    const noise = 24 * (next() - 0.5);
    for (let channel = 0; channel < 3; channel += 1) image.data[at + channel] += noise;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const png = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** Files per class: `shots` to learn from, `tests` to measure with. */
export async function exampleTask({ shots = 4, tests = 8, seed = 0 } = {}) {
  const classes = [];
  for (const [index, name] of EXAMPLE_CLASSES.entries()) {
    const files = [];
    for (let picture = 0; picture < shots + tests; picture += 1) {
      const blob = await png(draw(name, 100_000 * seed + 1000 * index + picture));
      files.push(new File([blob], `${name}-${String(picture + 1).padStart(2, "0")}.png`, { type: "image/png" }));
    }
    classes.push({ name, train: files.slice(0, shots), test: files.slice(shots) });
  }
  return classes;
}

/** One picture of every class, to invite. */
export function swatches(box) {
  for (const [index, name] of EXAMPLE_CLASSES.entries()) box.append(draw(name, 1000 * index + 500));
}
