// What a change makes out of date, and what it does not.
import { expect } from "@playwright/test";
import { pictures, tinyModel } from "./files.js";
import { choose, moduleZip, open, openLibrary, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=3&folds=0";
const config = JSON.parse(tinyModel()["config.json"]);
const old = (page) => page.locator("#rows tr.old");

test("what is changed back is as new as before", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
  await expect(page.getByTestId("stale")).toBeVisible();
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("stale")).toBeHidden();
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 1, 70));
  await expect(page.getByTestId("stale")).toBeVisible();
});

test("first answers come again for what was changed while they were on their way", async ({ page }) => {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const slow = source.replace("crew.adapt(engine,", "new Promise((go) => setTimeout(go, 2000)).then(() => crew.adapt(engine,").replace("memory.buffer.byteLength)", "memory.buffer.byteLength))");
    expect(slow).not.toBe(source);
    await route.fulfill({ response, body: slow });
  });
  await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("status")).toHaveText("looking at your pictures");
  await page.locator("summary", { hasText: "Settings" }).click();
  await page.getByTestId("folds").fill("2");
  await page.getByTestId("folds").press("Tab");
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%");
  await expect(old(page)).toHaveCount(0);
});

test("a method that is ticked again answers again by itself", async ({ page }) => {
  await open(page, TINY.replace("folds=0", "folds=2"));
  await twoClasses(page);
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
  await page.getByTestId("method-nearest-mean").uncheck();
  await page.locator("summary", { hasText: "Settings" }).click();
  await page.getByTestId("folds").fill("0");
  await page.getByTestId("folds").press("Tab");
  await expect(page.getByTestId("held-out-linear-probe")).not.toContainText("%");
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
  await page.getByTestId("method-nearest-mean").check();
  await expect(page.getByTestId("held-out-nearest-mean")).not.toContainText("%");
  await expect(old(page)).toHaveCount(0);
});

test("another library makes only what composes it out of date", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles(moduleZip("one", config, 11));
  await choose(page, ["nearest-mean", "uniform", "lora"]);
  await startAndFinish(page);
  await expect(old(page)).toHaveCount(0);
  await page.getByTestId("add-module").setInputFiles(moduleZip("two", config, 12));
  await expect(old(page)).toHaveCount(1);
  await expect(old(page)).toContainText("Uniform");
  await page.getByRole("button", { name: "Remove module two" }).click();
  await expect(old(page)).toHaveCount(0);
});

test("two modules of one folder name both come in, by the names of the folders above", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  const run = (name, seed) => ({ ...moduleZip("checkpoint-100", config, seed), name: `${name}.zip` });
  await page.getByTestId("add-module").setInputFiles([run("cats", 1), run("dogs", 2)]);
  const library = page.getByTestId("library").locator("li");
  await expect(library).toHaveCount(2);
  await expect(library.first()).toContainText("cats checkpoint-100");
});

test("a number out of range becomes the nearest one", async ({ page }) => {
  await open(page, TINY);
  await page.locator("summary", { hasText: "Settings" }).click();
  for (const [typed, taken] of [["5000", "2000"], ["0", "1"]]) {
    await page.getByTestId("steps").fill(typed);
    await page.getByTestId("steps").press("Tab");
    await expect(page.getByTestId("steps")).toHaveValue(taken);
    await expect(page.getByTestId("status")).toHaveText(`steps cannot be ${typed}: it is ${taken}`);
  }
});

test("the model that is open stays, with what was learned, when it is chosen again", async ({ page }) => {
  await open(page, "device=cpu&steps=2&folds=0");
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("model").click();
  await expect(page.locator("#models-lose")).toBeHidden();
  await page.keyboard.press("Escape");
  await startAndFinish(page);
  await page.getByTestId("model").click();
  await expect(page.locator("#models-lose")).toBeVisible();
  await page.getByTestId("model-shipped").click();
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(page.locator("#saving")).toBeVisible();
  await expect(page.locator("#saving option[value=lora]")).toHaveCount(1);
  await expect(old(page)).toHaveCount(0);
});

test("a module that is another one's copy counts twice, and that is said", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await expect(page.getByTestId("error")).toBeHidden();
  await page.getByTestId("add-module").setInputFiles(moduleZip("three", config, 11));
  await expect(page.getByTestId("error")).toContainText("module three: its updates are those of one, which count twice");
  await expect(page.getByTestId("library").locator("li")).toHaveCount(3);
});
