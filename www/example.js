// The built-in example task: four textures that the page draws itself. Size, tilt, colour and noise vary from picture to
// picture and say nothing about the class, so that only the kind of texture does.

export const EXAMPLE_CLASSES = ["rings", "scales", "weave", "cracks"];

function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

const KINDS = {
  rings(context, next, side) {
    const [x, y, gap] = [side * (0.3 + 0.4 * next()), side * (0.3 + 0.4 * next()), 6 + 9 * next()];
    for (let radius = gap; radius < side * 1.3; radius += gap) {
      context.beginPath();
      context.ellipse(x, y, radius, radius * (0.7 + 0.3 * next()), 0.3 * next(), 0, 7);
      context.stroke();
    }
  },
  scales(context, next, side) {
    const size = 12 + 12 * next();
    for (let row = -2; row * size * 0.5 < side * 1.5; row += 1) {
      for (let column = -2; column * size < side * 1.5; column += 1) {
        context.beginPath();
        context.arc((column + (row % 2 ? 0.5 : 0)) * size, row * size * 0.5, size * 0.5, 0, Math.PI);
        context.stroke();
      }
    }
  },
  weave(context, next, side) {
    const size = 9 + 10 * next();
    for (let row = -2; row * size < side * 1.5; row += 1) {
      for (let column = -2; column * size < side * 1.5; column += 1) {
        const [x, y] = [column * size, row * size];
        context.beginPath();
        for (const offset of [0.3, 0.7]) {
          if ((row + column) % 2) {
            context.moveTo(x, y + offset * size);
            context.lineTo(x + size, y + offset * size);
          } else {
            context.moveTo(x + offset * size, y);
            context.lineTo(x + offset * size, y + size);
          }
        }
        context.stroke();
      }
    }
  },
  cracks(context, next, side) {
    for (let crack = 0; crack < 14; crack += 1) {
      let [x, y, angle] = [side * 1.4 * next() - 0.2 * side, side * 1.4 * next() - 0.2 * side, 7 * next()];
      context.beginPath();
      context.moveTo(x, y);
      for (let step = 0; step < 12; step += 1) {
        angle += 1.6 * (next() - 0.5);
        x += 9 * Math.cos(angle);
        y += 9 * Math.sin(angle);
        context.lineTo(x, y);
      }
      context.stroke();
    }
  },
};

function draw(kind, seed, side) {
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d");
  const next = random(seed * 7919 + 17);
  for (let warm = 0; warm < 5; warm += 1) next();
  const hue = 360 * next();
  const dark = next() < 0.5;
  context.fillStyle = `hsl(${hue} 35% ${dark ? 22 : 78}%)`;
  context.fillRect(0, 0, side, side);
  context.translate(side / 2, side / 2);
  context.rotate((next() - 0.5) * 0.9);
  context.translate(-side / 2, -side / 2);
  context.strokeStyle = `hsl(${hue + 60 + 180 * next()} 45% ${dark ? 72 : 28}%)`;
  context.lineWidth = 1.5 + 2 * next();
  KINDS[kind](context, next, side);
  context.resetTransform();
  const image = context.getImageData(0, 0, side, side);
  for (let at = 0; at < image.data.length; at += 4) {
    const noise = 50 * (next() - 0.5);
    for (let channel = 0; channel < 3; channel += 1) image.data[at + channel] += noise;
  }
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** Files per class: `shots` to learn from, `tests` to measure with. */
export async function exampleTask(shots = 5, tests = 6, side = 112) {
  const classes = [];
  for (const [index, name] of EXAMPLE_CLASSES.entries()) {
    const files = [];
    for (let picture = 0; picture < shots + tests; picture += 1) {
      const blob = await draw(name, 1000 * index + picture, side);
      files.push(new File([blob], `${name}-${String(picture + 1).padStart(2, "0")}.png`, { type: "image/png" }));
    }
    classes.push({ name, train: files.slice(0, shots), test: files.slice(shots) });
  }
  return classes;
}
