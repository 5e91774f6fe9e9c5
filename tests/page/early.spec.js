// What a person does at the wrong moment: before the model is there, or while the worker fails; and browsers that lack something.
import { test as base, expect } from "@playwright/test";
import { pictures } from "./files.js";
import { addClass, choose, open, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const KEPT = 1_500; // Longer than the page waits before it keeps a change.
const thumbs = (page) => page.getByTestId("class-card").locator(".thumb canvas");

test("what comes in before the model is there waits for it", async ({ page }) => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/models/tiny/model.safetensors", async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(`?${TINY}`);
  await page.getByTestId("example").click();
  await expect(page.getByTestId("class-card")).toHaveCount(1);
  await page.waitForTimeout(1000);
  release();
  await expect(page.getByTestId("class-card")).toHaveCount(6);
  await expect(page.getByTestId("accuracy-linear-probe")).toContainText("%");
  await expect(page.getByTestId("error")).toBeHidden();
});

test("a part of the page that does not arrive is told, and a reload helps", async ({ page }) => {
  await page.route("**/charts.js", (route) => route.abort());
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("cannot start");
  await expect(page.getByTestId("error")).toContainText("did not arrive: reload");
  await page.unroute("**/charts.js");
  await page.reload();
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(page.getByTestId("error")).toBeHidden();
});

// Playwright's own test: an error that nobody catches is what this is about.
base("a module that a browser cannot run is told", async ({ page }) => {
  await page.route("**/vendor/uPlot.esm.js", (route) => route.fulfill({ contentType: "text/javascript", body: "throw new Error('no luck'); export default 0;" }));
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("cannot start");
  await expect(page.getByTestId("error")).toContainText("cannot run the page");
  await expect(page.getByTestId("error")).toContainText("no luck");
});

test("a worker that fails while pictures are read loses none of them", async ({ page }) => {
  let armed = true;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const faulty = source.replace("engine.addPicture(picture, name,", "(name.includes('-4') ? engine.panic() : undefined) ?? engine.addPicture(picture, name,");
    expect(faulty).not.toBe(source);
    await route.fulfill({ response, body: armed ? faulty : source });
    armed = false;
  });
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await addClass(page, "across", pictures(0, 6));
  await expect(page.getByTestId("error")).toContainText("your pictures are kept");
  await addClass(page, "along", pictures(1, 3));
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(thumbs(page)).toHaveCount(9);
});

test("a worker that fails while the pictures of the last visit come back loses none of them", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "across", pictures(0, 6));
  await addClass(page, "along", pictures(1, 3));
  await page.waitForTimeout(KEPT);
  let armed = true;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    await route.fulfill({ response, body: armed ? source.replace("engine.addPicture(picture, name,", "(name.includes('-4') ? engine.panic() : undefined) ?? engine.addPicture(picture, name,") : source });
    armed = false;
  });
  await page.reload();
  await expect(page.getByTestId("error")).toContainText("your pictures are kept");
  await expect(thumbs(page)).toHaveCount(9);
  await expect(page.getByTestId("start")).toBeEnabled();
});

test("an address that asks for the example takes nothing away", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await page.waitForTimeout(KEPT);
  await page.goto(`?${TINY}&example`);
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await expect(thumbs(page)).toHaveCount(6);
  await page.getByTestId("clear").click();
  await page.getByTestId("clear-now").click();
  await expect(page.getByTestId("class-card")).toHaveCount(6);
});

test("answers that are older than the pictures say so", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await expect(page.getByTestId("try-stale")).toBeHidden();
  await page.getByRole("button", { name: "Remove class along" }).click();
  await expect(page.getByTestId("stale")).toBeVisible();
  await expect(page.getByTestId("try-stale")).toBeVisible();
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("try-stale")).toBeHidden();
});

test("a run that was stopped is not saved as a whole one", async ({ page }) => {
  await open(page, "device=cpu&model=tiny&steps=2000&folds=2");
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await expect(page.getByTestId("honest")).toContainText("the run was stopped");
  await page.getByTestId("save-project").click();
  await expect(page.getByTestId("status")).toContainText("stopped early");
});

test("two problems are both told", async ({ page }) => {
  await open(page, TINY);
  const bad = (name) => ({ name, mimeType: "image/png", buffer: Buffer.from("not a picture") });
  await addClass(page, "one", pictures(0, 1));
  for (const name of ["first.png", "second.png"]) await page.getByTestId("class-files").setInputFiles([bad(name)]);
  await expect(page.getByTestId("error")).toContainText("first.png");
  await expect(page.getByTestId("error")).toContainText("second.png");
});

for (const [name, change, told] of [
  ["SIMD", () => (WebAssembly.validate = () => false), "no SIMD"],
  ["WebAssembly", () => delete globalThis.WebAssembly, "no WebAssembly"],
  ["module workers", () => (globalThis.Worker = class { terminate() {} }), "no module workers"],
]) {
  test(`a browser without ${name} is told so`, async ({ page }) => {
    await page.addInitScript(change);
    await page.goto("?device=cpu");
    await expect(page.getByTestId("error")).toContainText(told);
    await expect(page.getByTestId("status")).toHaveText("cannot start");
    await expect(page.locator("#why")).toHaveText("To start, open this page in another browser.");
  });
}

test("a browser without WebGPU computes on the CPU and says why", async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { value: undefined }));
  await page.goto("?model=tiny");
  await expect(page.getByTestId("device")).toContainText("no WebGPU");
  await expect(page.getByTestId("status")).toHaveText("ready");
});
