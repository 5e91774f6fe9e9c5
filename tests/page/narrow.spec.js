// Narrow windows, large zoom and large print: nothing is cut or hidden. At 400 % a window of 1280 by 1024 pixels has 320 by 256.
import { expect } from "@playwright/test";
import { addTests, choose, open, startAndFinish, test, twoClasses, withModules } from "./support.js";
import { pictures } from "./files.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** The texts of elements that do not show as a whole. */
const cut = (page, selector) => page.locator(selector).evaluateAll((all) => all.filter((own) => own.scrollWidth > own.clientWidth).map((own) => own.textContent));

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
