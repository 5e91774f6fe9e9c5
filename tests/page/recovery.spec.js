// What a person can still do after something failed, and while something runs.
import { expect } from "@playwright/test";
import { tinyModel } from "./files.js";
import { choose, moduleZip, open, openLibrary, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const config = JSON.parse(tinyModel()["config.json"]);

/** The worker fails; resolves when there is another. */
async function fail(page) {
  const [worker] = page.workers();
  await worker.evaluate(() => postMessage({ event: "fatal", error: { code: "fatal", message: "it stopped" } }));
  await expect.poll(() => page.workers().some((other) => other !== worker)).toBe(true);
}

test("a computation that fails again and again leaves the choice of another model", async ({ page }) => {
  await open(page, TINY);
  for (let time = 0; time < 3; time += 1) {
    await fail(page);
    await expect(page.locator("body[data-ready=true]")).toHaveCount(1);
  }
  await fail(page);
  await expect(page.getByTestId("status")).toContainText("the computation keeps failing");
  await expect(page.getByTestId("error")).toContainText("choose another model");
  await expect(page.locator("#why")).toHaveText("To start, choose another model at the top of the page.");
  await page.getByTestId("model").click();
  await page.getByTestId("model-shipped").click();
  await expect(page.getByTestId("model")).toContainText("96 × 96");
  await expect(page.getByTestId("status")).toHaveText("ready");
  await twoClasses(page);
  await expect(page.getByTestId("accuracy-nearest-mean")).toBeVisible();
});

test("a part of the page that did not arrive is asked for again with the next model", async ({ page }) => {
  let gone = true;
  await page.route("**/*_bg.wasm", (route) => (gone ? route.abort() : route.continue()));
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("error")).toContainText("a part of the page did not arrive");
  await expect(page.getByTestId("status")).toHaveText("cannot start");
  gone = false;
  await page.getByTestId("model").click();
  await page.getByTestId("model-shipped").click();
  await expect(page.getByTestId("model")).toContainText("96 × 96");
  await expect(page.getByTestId("status")).toHaveText("ready");
});

test("a mix goes back to the trained weights while another method trains", async ({ page }) => {
  await open(page, TINY.replace("steps=4", "steps=2000").replace("folds=2", "folds=0"));
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await twoClasses(page);
  await choose(page, ["uniform", "lora"]);
  await page.getByTestId("start").click();
  await expect(page.getByTestId("accuracy-uniform")).toBeVisible();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await page.getByTestId("composition").locator("input[type=range]").first().fill("0.9");
  await expect(page.getByTestId("unmix")).toBeVisible();
  await page.getByTestId("unmix").click();
  await expect(page.getByTestId("unmix")).toBeHidden();
  await expect(page.getByTestId("stop")).toBeVisible();
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText(/stopped|done/);
});
