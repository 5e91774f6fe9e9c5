// A project takes the place of what is there: of what was learned, of pictures that are still coming back, of modules.
import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { strFromU8, unzipSync, zipSync } from "fflate";
import { pictures, tinyModel } from "./files.js";
import { choose, expectSame, moduleZip, open, openLibrary, predictions, saveAs, slowPictures, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=3&folds=2";
const names = (page) => page.getByTestId("class-name").evaluateAll((fields) => fields.map(({ value }) => value));
const answers = (page, method) => page.locator(`[data-testid=prediction][data-method=${method}]`);

test("what was learned before a project answers no more, and modules of one's own can be put back", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean"]);
  await startAndFinish(page);
  const path = await saveAs(page, "save-project");
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles(moduleZip("mine", JSON.parse(tinyModel()["config.json"]), 11));
  await expect(page.getByTestId("library").locator("li")).toHaveCount(1);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("try-files").setInputFiles(pictures(0, 1, 90));
  await startAndFinish(page);
  await expect(answers(page, "lora")).toHaveCount(1);
  await expect(page.locator("#saving")).toBeVisible();
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(page.getByTestId("status")).toHaveText(/project opened|first answers/);
  await expect(answers(page, "nearest-mean")).toHaveCount(1);
  await expect(answers(page, "lora")).toHaveCount(0);
  await expect(page.locator("#saving option[value=lora]")).toHaveCount(0);
  const out = page.getByTestId("library-removed").getByRole("button", { name: "Put back module mine" });
  await out.click();
  await expect(page.getByTestId("library").locator("li", { hasText: "mine" })).toHaveCount(1);
});

test("a project that is opened while the last visit comes back is not mixed with it", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  const path = await saveAs(page, "save-project");
  await page.getByTestId("class-name").first().fill("old");
  await page.getByTestId("class-name").first().press("Tab");
  await page.waitForTimeout(1500); // Longer than the page waits before it keeps a change.
  await page.addInitScript(slowPictures, 300);
  await page.reload();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).not.toHaveCount(0, { timeout: 120_000 });
  await page.getByTestId("open-project").setInputFiles(path);
  await expect.poll(() => names(page), { timeout: 60_000 }).toEqual(["across", "along"]);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  // The methods look at the pictures when all of them are there.
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  expect(await names(page)).toEqual(["across", "along"]);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  expect(await names(page)).toEqual(["old", "along"]);
});

test("what is no picture makes no result out of date", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  const error = page.getByTestId("error");
  for (const place of [page.getByTestId("class-card").first(), page.locator("#test-zone")]) {
    await place.evaluate((element) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.setData("text/plain", "a link");
      element.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    });
    await expect(error).toContainText("only files can be dropped");
    await page.locator("#dismiss").click();
  }
  const bad = { name: "bad.png", mimeType: "image/png", buffer: readFileSync(new URL(import.meta.url)) };
  await page.getByTestId("class-files").first().setInputFiles(bad);
  await expect(error).toContainText("bad.png");
  await expect(page.getByTestId("stale")).toBeHidden();
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 1, 70));
  await expect(page.getByTestId("stale")).toBeVisible();
});

test("a project that is taken back while it is read leaves what was there before it", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["lora"]);
  await startAndFinish(page);
  const path = await saveAs(page, "save-project");
  await page.getByTestId("class-name").first().fill("mine");
  await page.getByTestId("class-name").first().press("Tab");
  const told = await page.locator("tr[data-method=lora]").textContent();
  await page.evaluate(slowPictures, 2000);
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(page.locator("#toast-text")).toContainText("were replaced");
  await page.getByTestId("undo").click();
  expect(await names(page)).toEqual(["mine", "along"]);
  await page.waitForTimeout(3000); // Longer than what is on its way takes.
  expect(await names(page)).toEqual(["mine", "along"]);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await expect(page.locator("tr[data-method=lora]")).toHaveText(told);
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
});

test("what was learned answers as before when the modules change, and its weights cannot be dragged", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  const config = JSON.parse(tinyModel()["config.json"]);
  // Two of one name that come at once get two names.
  await page.getByTestId("add-module").setInputFiles(moduleZip("one", config, 11));
  await page.getByTestId("add-module").setInputFiles(moduleZip("one", config, 12));
  await expect(page.getByTestId("library").locator("li")).toHaveText([/^one×?$/, /^one 2×?$/]);
  await choose(page, ["uniform", "best-module", "learned"]);
  await twoClasses(page);
  await page.getByTestId("try-files").setInputFiles(pictures(0, 1, 90));
  await startAndFinish(page);
  await expect(page.getByTestId("prediction")).toHaveCount(3);
  const before = await predictions(page);
  const bars = page.getByTestId("composition").locator("input[type=range]");
  await expect(bars).toHaveCount(2);
  await bars.first().fill("0.9");
  const mixed = answers(page, "mixed");
  await expect(mixed).toHaveCount(1);
  for (const name of ["one", "one 2"]) {
    await page.getByRole("button", { name: `Remove module ${name}`, exact: true }).click();
    await expect(page.getByTestId("library-removed").getByRole("button", { name: `Put back module ${name}`, exact: true })).toBeVisible();
    await expect(bars).toHaveCount(0);
    await expect(mixed).toHaveCount(0);
    // A picture that is new asks every method.
    const known = await page.getByTestId("prediction").count();
    await page.getByTestId("try-files").setInputFiles(pictures(0, 1, 90));
    await expect(page.getByTestId("prediction")).toHaveCount(known + before.length);
    const every = await predictions(page);
    for (let at = 0; at < every.length; at += before.length) expectSame(every.slice(at, at + before.length), before);
  }
  await expect(page.getByTestId("error")).toBeHidden();
  await page.getByRole("button", { name: "Put back module one", exact: true }).click();
  await page.getByRole("button", { name: "Put back module one 2", exact: true }).click();
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await expect(page.getByTestId("stale")).toBeHidden();
  await bars.first().fill("0.9");
  await expect(mixed).not.toHaveCount(0);
});

test("Undo of a project of another input size brings back what was learned before it, as out of date", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  const shown = await page.getByTestId("held-out-lora").textContent();
  const files = unzipSync(readFileSync(await saveAs(page, "save-project")));
  const project = JSON.parse(strFromU8(files["project.json"]));
  const described = new TextEncoder().encode(JSON.stringify({ ...project, img_size: 40, results: [] }));
  await page.getByTestId("open-project").setInputFiles({ name: "larger.zip", mimeType: "application/zip", buffer: Buffer.from(zipSync({ ...files, "project.json": described })) });
  await expect(page.getByTestId("status")).toHaveText(/project opened|first answers/);
  await expect(page.getByTestId("model")).toContainText("40 × 40 px");
  await expect(page.getByTestId("held-out-lora")).toHaveCount(0);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("held-out-lora")).toHaveText(shown);
  await expect(page.getByTestId("stale")).toBeVisible();
});
