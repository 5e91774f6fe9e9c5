// The example lies in docs/example, too, for the command line: the same pictures, as JPEGs.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { test } from "./support.js";

const DIR = new URL("../../docs/example/", import.meta.url).pathname;

/** In the page: how many levels the drawn picture is off a JPEG on average, for each of a class's. */
async function differences([name, part, jpegs]) {
  const { exampleTask } = await import("./example.js");
  const drawn = (await exampleTask()).find((own) => own.name === name)[part];
  const pixels = async (blob) => {
    const picture = await createImageBitmap(blob);
    const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, picture.width, picture.height).data;
  };
  return Promise.all(jpegs.map(async (bytes, index) => {
    const [own, saved] = await Promise.all([pixels(drawn[index]), pixels(new Blob([new Uint8Array(bytes)], { type: "image/jpeg" }))]);
    return own.reduce((sum, value, at) => sum + Math.abs(value - saved[at]), 0) / own.length;
  }));
}

test("the example of the command line is the one that the page draws", async ({ page }) => {
  await page.goto("?device=cpu");
  for (const [part, count] of [["train", 4], ["test", 8]]) {
    const classes = readdirSync(join(DIR, part));
    expect(classes).toHaveLength(6);
    for (const name of classes) {
      const files = readdirSync(join(DIR, part, name)).sort();
      expect(files).toHaveLength(count);
      const jpegs = files.map((file) => [...readFileSync(join(DIR, part, name, file))]);
      // What JPEG and another version of the browser make of lines and noise; another picture is off by 30 and more.
      for (const off of await page.evaluate(differences, [name, part, jpegs])) expect(off).toBeLessThan(12);
    }
  }
});
