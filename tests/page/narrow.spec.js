// Narrow windows, large zoom and large print: nothing is cut or hidden. At 400 % a window of 1280 by 1024 pixels has 320 by 256.
import { expect } from "@playwright/test";
import { zipSync } from "fflate";
import { addTests, choose, open, startAndFinish, test, twoClasses, withModules } from "./support.js";
import { pictures, png } from "./files.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** The texts of elements that do not show as a whole. */
const cut = (page, selector) => page.locator(selector).evaluateAll((all) => all
  .filter((own) => own.scrollWidth > own.clientWidth || own.scrollHeight > own.clientHeight).map((own) => own.textContent));

/** The words of elements that go on in another line. */
const broken = (page, selector) => page.locator(selector).evaluateAll((all) => all.flatMap((own) => {
  const text = own.firstChild;
  const lines = ({ 0: word, index }) => {
    const range = document.createRange();
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    return new Set([...range.getClientRects()].map(({ top }) => top)).size;
  };
  return [...text.data.matchAll(/\S+/g)].filter((word) => lines(word) > 1).map(([word]) => word);
}));

/** Classes of these names from a zip, with a picture to learn from and one to test each. */
async function classesOf(page, names) {
  const files = names.flatMap((name, index) => [[`train/${name}/1.png`, png(index % 2, index)], [`test/${name}/2.png`, png(index % 2, 500 + index)]]);
  const buffer = Buffer.from(zipSync(Object.fromEntries(files.map(([path, bytes]) => [path, new Uint8Array(bytes)]))));
  await page.getByTestId("open-project").setInputFiles({ name: "classes.zip", mimeType: "application/zip", buffer });
  await expect(page.getByTestId("class-card")).toHaveCount(names.length);
  await expect(page.locator("#confusion .cell")).toHaveCount(names.length ** 2);
}

test("at 320 px nothing is wider than the window, names show as a whole and links are large enough", async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 700 });
  await open(page, TINY);
  await withModules(page, ["grocery-vegetables", "two"]);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 2, 90));
  await choose(page, ["nearest-mean", "learned", "lora"]);
  await startAndFinish(page);
  await expect(page.locator("[data-testid=prediction][data-method=lora]")).toHaveCount(2);
  for (const width of [320, 360, 390]) {
    await page.setViewportSize({ width, height: 700 });
    expect(await overflow(page), `${width} px`).toBeLessThanOrEqual(0);
    expect(await cut(page, ".bar-name, .answer, .corner"), `${width} px`).toEqual([]);
    for (const link of await page.locator("nav a").all()) expect((await link.boundingBox()).height).toBeGreaterThanOrEqual(24);
  }
});

test("answers show as a whole and words of methods are not broken, whatever classes are called", async ({ page }) => {
  await open(page, TINY);
  await classesOf(page, ["Australian shepherd", "Golden retriever puppy"]);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("threshold").fill("0");
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await startAndFinish(page);
  const lora = page.locator("[data-testid=prediction][data-method=lora]");
  await expect(lora).toHaveCount(1);
  for (const width of [1440, 1366, 1280, 1200, 768, 390, 360]) {
    await page.setViewportSize({ width, height: 900 });
    expect(await overflow(page), `${width} px`).toBeLessThanOrEqual(0);
    expect(await cut(page, ".answer"), `${width} px`).toEqual([]);
    expect(await broken(page, ".answers .bar-name, .answer-line span"), `${width} px`).toEqual([]);
    expect((await lora.locator(".bar-name").boundingBox()).height, `${width} px`).toBeLessThan(25);
  }
});

for (const [count, names] of [["two", ["Australian shepherd", "Golden retriever puppy"]], ["thirty", Array.from({ length: 30 }, (_, index) => `class number ${index}`)]]) {
  test(`labels of the confusion matrix of ${count} classes show as a whole, and stay beside their rows`, async ({ page }) => {
    await open(page, TINY);
    await classesOf(page, names);
    const matrix = page.getByTestId("confusion");
    const [box, row] = [matrix.locator(".."), matrix.locator("tbody th").last()];
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await overflow(page), `${width} px`).toBeLessThanOrEqual(0);
      expect(await cut(page, "#confusion th"), `${width} px`).toEqual([]);
      expect(await broken(page, "#confusion th span"), `${width} px`).toEqual([]);
      await box.evaluate((own) => (own.scrollLeft = own.scrollWidth));
      const [around, label] = [await box.boundingBox(), await row.boundingBox()];
      expect(label.x, `${width} px`).toBeGreaterThanOrEqual(around.x);
      expect(around.width - label.width, `${width} px`).toBeGreaterThan(150);
    }
  });
}

test("between a phone and a desk the table of results fits while methods run", async ({ page }) => {
  await page.setViewportSize({ width: 768, height: 900 });
  await open(page, TINY.replace("steps=4", "steps=2000"));
  await twoClasses(page);
  await addTests(page, "across", 0);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  expect(await page.locator("#results-region").evaluate((own) => own.scrollWidth - own.clientWidth)).toBeLessThanOrEqual(0);
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
});

/** Notes from now on how high every row of the table is while its method waits or runs; `heights()` gives all heights of each. */
async function measureRows(page) {
  await page.evaluate(() => {
    window.heights = {};
    const measure = () => {
      for (const bar of document.querySelectorAll("#rows progress:not([hidden])")) {
        const row = bar.closest("tr");
        (window.heights[row.dataset.method] ??= new Set()).add(row.offsetHeight);
      }
      requestAnimationFrame(measure);
    };
    measure();
  });
  return () => page.evaluate(() => Object.entries(window.heights).map(([method, all]) => [method, [...all]]));
}

test("a row of the table keeps its height while its method waits and runs", async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 900 });
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora", "full"]);
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  const heights = await measureRows(page);
  await startAndFinish(page);
  const all = await heights();
  expect(all.map(([method]) => method)).toContain("full");
  for (const [method, own] of all) expect(own, method).toHaveLength(1);
});

test("in a low window the bar at the top scrolls away", async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 256 });
  await open(page, TINY);
  const bar = page.locator(".bar-top");
  await page.locator("#h-try").scrollIntoViewIfNeeded();
  await expect(bar).not.toBeInViewport();
  await page.setViewportSize({ width: 320, height: 700 });
  await page.locator("#h-classes").scrollIntoViewIfNeeded();
  await page.locator("#test-zone").scrollIntoViewIfNeeded();
  await expect(bar).toBeInViewport();
});

test("a larger font of the browser makes the page larger, and it still fits", async ({ playwright, baseURL }) => {
  const browser = await playwright.chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--headless=new", "--no-sandbox", "--blink-settings=defaultFontSize=28"] });
  try {
    const page = await browser.newPage({ baseURL, serviceWorkers: "block" });
    await open(page, TINY);
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).fontSize)).toBe("28px");
    for (const width of [390, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await overflow(page), `${width} px`).toBeLessThanOrEqual(0);
    }
  } finally {
    await browser.close();
  }
});
