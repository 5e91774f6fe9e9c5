// What was learned answers again: on the next visit, and when a worker fails.
import { expect } from "@playwright/test";
import { pictures } from "./files.js";
import { choose, expectSame, open, predictions, startAndFinish, test, twoClasses, withModules } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const COMPOSED = ["uniform", "learned", "lora"];
const QUICK = ["linear-probe", "nearest-mean"];

const answering = async (page) => (await predictions(page)).map(([name]) => name).sort();
const tryOne = (page) => page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));

/** Trains on two classes; what the methods say of a picture. */
async function train(page, methods) {
  await withModules(page);
  await twoClasses(page);
  await choose(page, [...methods, ...QUICK]);
  await tryOne(page);
  await startAndFinish(page);
  await expect.poll(() => answering(page)).toEqual([...methods, ...QUICK].sort());
  return predictions(page);
}

test("what was learned answers again after a reload, but for full fine-tuning", async ({ page }) => {
  await open(page, TINY);
  const before = await train(page, [...COMPOSED, "full"]);
  await page.waitForTimeout(1500); // What is kept is written a moment later.
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await tryOne(page);
  await expect.poll(() => answering(page)).toEqual([...COMPOSED, ...QUICK].sort());
  expectSame(await predictions(page), before.filter(([name]) => name !== "full"));
  await expect(page.locator("#try-silent")).toBeVisible();
  // It can be saved again, and what is kept now comes back once more.
  await expect(page.locator("#export-method option")).toContainText(["Uniform", "Learned", "LoRA from scratch"]);
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await tryOne(page);
  await expect.poll(() => answering(page)).toEqual([...COMPOSED, ...QUICK].sort());
  // Other pictures: what answers is older than they are, and says so.
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 1, 50));
  await expect(page.getByTestId("try-stale")).toBeVisible();
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await tryOne(page);
  await expect.poll(() => answering(page)).toEqual(QUICK);
});

test("a worker that fails takes nothing along that was learned before", async ({ page }) => {
  let armed = true;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const faulty = source.replace("crew.adapt(engine,", `(request.methods.includes("learned-free") ? engine.panic() : undefined) ?? crew.adapt(engine,`);
    expect(faulty).not.toBe(source);
    await route.fulfill({ response, body: armed ? faulty : source });
    armed = false;
  });
  await open(page, TINY);
  const before = await train(page, COMPOSED);
  await choose(page, [...QUICK, "learned-free"]);
  await page.getByTestId("start").click();
  await expect(page.getByTestId("error")).toContainText("so is what was learned");
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await expect.poll(() => answering(page)).toEqual([...COMPOSED, ...QUICK].sort());
  expectSame(await predictions(page), before);
});

test("after full fine-tuning a whole model is saved", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "full"]);
  await startAndFinish(page);
  await page.locator("#export-method").selectOption("full");
  await expect(page.locator("#export-form")).toBeDisabled();
  await expect(page.locator("#export-form")).toHaveValue("merged");
  await expect(page.getByTestId("join-library")).toBeDisabled();
  const download = page.waitForEvent("download");
  await page.getByTestId("export-adapter").click();
  expect((await download).suggestedFilename()).toBe("loraloom-full-model.zip");
  await expect(page.locator("#export-note")).toContainText("loraloom predict --task loraloom-full-model photo.jpg");
  await page.locator("#export-method").selectOption("nearest-mean");
  await expect(page.locator("#export-form")).toHaveValue("cat");
  await expect(page.getByTestId("join-library")).toBeEnabled();
});
