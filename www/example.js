// The built-in example task: six textures that the page draws itself. Size, tilt, colour, contrast and noise vary from
// picture to picture and say nothing about the class; each texture has a twin that differs in structure alone (rings and
// spirals, bricks and weave, cracks and threads).

const SIDE = 112;

function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

const place = (next, side) => [side * (0.25 + 0.5 * next()), side * (0.25 + 0.5 * next())];

/** A wandering line from a start, with turns of a size. */
function wander(context, next, [x, y, angle], steps, turn) {
  context.beginPath();
  context.moveTo(x, y);
  for (let step = 0; step < steps; step += 1) {
    angle += turn * (next() - 0.5);
    x += 8 * Math.cos(angle);
    y += 8 * Math.sin(angle);
    context.lineTo(x, y);
  }
  context.stroke();
}

const KINDS = {
  rings(context, next, side) {
    const [x, y] = place(next, side);
    const [gap, flat, tilt] = [6 + 9 * next(), 0.7 + 0.3 * next(), 3 * next()];
    for (let radius = gap * next(); radius < side * 1.4; radius += gap) {
      context.beginPath();
      context.ellipse(x, y, radius, radius * flat, tilt, 0, 7);
      context.stroke();
    }
  },
  spirals(context, next, side) {
    const [x, y] = place(next, side);
    const [gap, flat, turn, way] = [6 + 9 * next(), 0.7 + 0.3 * next(), 6 * next(), next() < 0.5 ? 1 : -1];
    context.beginPath();
    for (let angle = 0; angle * gap < side * 9; angle += 0.1) {
      const radius = (gap * angle) / 6.283;
      context.lineTo(x + radius * Math.cos(turn + way * angle), y + radius * flat * Math.sin(turn + way * angle));
    }
    context.stroke();
  },
  bricks(context, next, side) {
    const [height, length] = [9 + 9 * next(), 18 + 14 * next()];
    for (let row = -6; row * height < side * 1.5; row += 1) {
      context.beginPath();
      context.moveTo(-side, row * height);
      context.lineTo(side * 2, row * height);
      for (let column = -6; column * length < side * 1.5; column += 1) {
        const x = (column + (row % 2 ? 0.5 : 0)) * length;
        context.moveTo(x, row * height);
        context.lineTo(x, (row + 1) * height);
      }
      context.stroke();
    }
  },
  weave(context, next, side) {
    const size = 11 + 10 * next();
    for (let row = -6; row * size < side * 1.5; row += 1) {
      for (let column = -6; column * size < side * 1.5; column += 1) {
        const [x, y, across] = [column * size, row * size, (row + column) % 2 !== 0];
        context.beginPath();
        for (const offset of [0.15, 0.85]) {
          context.moveTo(across ? x : x + offset * size, across ? y + offset * size : y);
          context.lineTo(across ? x + size : x + offset * size, across ? y + offset * size : y + size);
        }
        context.stroke();
      }
    }
  },
  cracks(context, next, side) {
    // Cracks split: every line has branches.
    for (let crack = 0; crack < 4; crack += 1) {
      let [x, y] = [side * next(), side * next()];
      let angle = 7 * next();
      for (let part = 0; part < 7; part += 1) {
        wander(context, next, [x, y, angle + (next() < 0.5 ? 1 : -1)], 2 + 3 * next(), 0.9);
        context.beginPath();
        context.moveTo(x, y);
        angle += 0.9 * (next() - 0.5);
        x += 17 * Math.cos(angle);
        y += 17 * Math.sin(angle);
        context.lineTo(x, y);
        context.stroke();
      }
    }
  },
  threads(context, next, side) {
    // Threads never split: they cross.
    for (let thread = 0; thread < 9; thread += 1) {
      wander(context, next, [side * next(), side * next(), 7 * next()], 9 + 5 * next(), 0.9);
    }
  },
};

export const EXAMPLE_CLASSES = Object.keys(KINDS);

function draw(kind, seed) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const next = random(seed * 7919 + 17);
  for (let warm = 0; warm < 5; warm += 1) next();
  const hue = 360 * next();
  const dark = next() < 0.5;
  const contrast = 14 + 22 * next();
  context.fillStyle = `hsl(${hue} 30% ${dark ? 50 - contrast : 50 + contrast}%)`;
  context.fillRect(0, 0, SIDE, SIDE);
  context.translate(SIDE / 2, SIDE / 2);
  context.rotate(6.283 * next());
  context.translate(-SIDE / 2, -SIDE / 2);
  context.strokeStyle = `hsl(${hue + 60 + 180 * next()} 40% ${dark ? 50 + contrast : 50 - contrast}%)`;
  context.lineWidth = 1.5 + 2 * next();
  KINDS[kind](context, next, SIDE);
  context.resetTransform();
  const image = context.getImageData(0, 0, SIDE, SIDE);
  for (let at = 0; at < image.data.length; at += 4) {
    const noise = 60 * (next() - 0.5);
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
