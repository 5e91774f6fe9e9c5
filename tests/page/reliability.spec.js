// Bad input, failures, and a network that is gone.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { pictures, writeFolder } from "./files.js";
import { choose, drop, moduleZip, open, openLibrary, startAndFinish, twoClasses, traceTasks } from "./support.js";

/** The page never blocks for longer, in milliseconds. */
const LONG_TASK = 50;
const TINY = "device=cpu&model=tiny&steps=4&folds=2";

test("bad files are named and the good ones go on", async ({ page }) => {
  await open(page, TINY);
  const bad = { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("not a picture") };
  await page.getByTestId("add-class").click();
  await page.getByTestId("class-files").setInputFiles([bad, ...pictures(0, 2)]);
  await expect(page.getByTestId("error")).toContainText("broken.png");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(2);
  await page.locator("#dismiss").click();

  await openLibrary(page);
  const other = moduleZip("foreign", { hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2 }, 3);
  await page.getByTestId("add-module").setInputFiles(other);
  await expect(page.getByTestId("error")).toContainText("foreign");
  await page.getByTestId("add-module").setInputFiles({ name: "nothing.zip", mimeType: "application/zip", buffer: Buffer.from("PK not really") });
  await expect(page.getByTestId("error")).toContainText("nothing.zip");

  await page.getByTestId("open-project").setInputFiles({ name: "not-a-project.zip", mimeType: "application/zip", buffer: Buffer.from("?") });
  await expect(page.getByTestId("error")).toContainText("not-a-project.zip");

  // A model that is refused leaves the one in use as it is.
  await page.getByTestId("model").click();
  await page.getByTestId("model-files").setInputFiles([
    { name: "config.json", mimeType: "application/json", buffer: Buffer.from('{"model_type":"bert"}') },
    { name: "model.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from([1, 2, 3]) },
  ]);
  await expect(page.getByTestId("error")).toContainText("bert");
  await expect(page.getByTestId("model")).toContainText("tiny");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(2);
});

test("undo brings back what was removed, and results say when they are out of date", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("stale")).toBeHidden();
  await page.getByRole("button", { name: "Remove class along" }).click();
  await expect(page.getByTestId("class-card")).toHaveCount(1);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
  await expect(page.getByTestId("class-card").first().locator(".thumb canvas")).toHaveCount(2);
  await expect(page.getByTestId("stale")).toBeVisible();
  await page.getByTestId("class-name").first().fill("along");
  await page.getByTestId("class-name").first().press("Tab");
  await expect(page.locator("#why")).toContainText("different names");
});

test("what was removed and brought back survives a reload", async ({ page }) => {
  const kept = 1_500; // Longer than the page waits before it keeps a change.
  await open(page, TINY);
  await twoClasses(page);
  await page.waitForTimeout(kept);
  await page.getByRole("button", { name: "Remove class along" }).click();
  await page.waitForTimeout(kept);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await page.waitForTimeout(kept);
  await page.reload();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6, { timeout: 120_000 });
});

test("pictures that came in after a removal stay when it is undone", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await page.getByRole("button", { name: "Remove class along" }).click();
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 2, 40));
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(5);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(8);
});

test("a model that is chosen while methods run ends them first", async ({ page }) => {
  await open(page, "device=cpu&model=tiny&steps=2000&folds=0");
  await twoClasses(page);
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await page.getByTestId("pause").click();
  await page.getByTestId("model").click();
  await page.locator("#model-shipped").click();
  await expect(page.getByTestId("model")).toContainText("96 × 96", { timeout: 60_000 });
  await expect(page.getByTestId("status")).toHaveText(/ready|first answers/, { timeout: 60_000 });
  await expect(page.getByTestId("start")).toBeEnabled();
});

test("one picture per class is enough, and the page says what cannot be measured", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page, 1);
  await choose(page, ["nearest-mean", "linear-probe", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toHaveText("–");
  await expect(page.getByTestId("honest")).toContainText("nothing to measure with");
});

test("answers below the threshold are not sure", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("accuracy-linear-probe")).toBeVisible();
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  const answer = page.locator("[data-testid=prediction][data-method=linear-probe]");
  await page.getByTestId("threshold").fill("0");
  await expect(answer).toContainText("along");
  await page.getByTestId("threshold").fill("1");
  await expect(answer).toContainText("not sure");
});

test("a hidden tab goes on", async ({ page, context }) => {
  await open(page, TINY.replace("steps=4", "steps=2000"));
  await twoClasses(page);
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  const step = async () => Number(/step (\d+)/.exec(await page.locator("tr[data-method=lora]").textContent())?.[1] ?? 0);
  await expect.poll(step).toBeGreaterThan(0);
  const other = await context.newPage();
  await other.bringToFront();
  const before = await step();
  await other.waitForTimeout(3000);
  expect(await step()).toBeGreaterThan(before);
  await page.bringToFront();
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText(/stopped|done/);
});

for (const [failure, told] of [["panic", "asked to panic"], ["exhaust", "memory is full"]]) {
  test(`a run that ends in ${failure} restarts the worker and loses nothing`, async ({ page }) => survives(page, failure, told));
}

async function survives(page, failure, told) {
  let armed = true;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    // The first run of the first worker fails for real, inside the wasm module.
    const faulty = source.replace("engine.adapt(request,", `engine.${failure}() ?? engine.adapt(request,`);
    expect(faulty).not.toBe(source);
    await route.fulfill({ response, body: armed ? faulty : source });
    armed = false;
  });
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await twoClasses(page);
  await expect(page.getByTestId("error")).toContainText(told);
  await expect(page.getByTestId("error")).toContainText("your pictures are kept");
  await expect(page.getByTestId("accuracy-linear-probe")).toContainText("–");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toContainText("%");
}

test("500 pictures come in without a long task, and one more is refused", async ({ page }) => {
  await open(page, TINY);
  const root = mkdtempSync(join(tmpdir(), "loraloom-"));
  for (const [kind, count] of [[0, 260], [1, 240]]) writeFolder(join(root, `kind${kind}`), Object.fromEntries(pictures(kind, count).map(({ name, buffer }) => [name, buffer])));
  const tasks = await traceTasks(page);
  await drop(page, page.locator("footer"), [join(root, "kind0"), join(root, "kind1")]);
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%", { timeout: 120_000 });
  await page.waitForTimeout(1500); // What is kept is written a moment later.
  expect(await tasks.longest()).toBeLessThan(LONG_TASK);
  await page.getByTestId("class-files").last().setInputFiles(pictures(1, 2, 300));
  await expect(page.getByTestId("error")).toContainText("at most 500");
  await page.reload();
  await expect(page.locator("#class-count")).toHaveText("500 pictures", { timeout: 120_000 });
  await page.getByRole("button", { name: "Show all 260" }).click();
  await expect(page.getByTestId("class-card").first().locator(".thumb canvas")).toHaveCount(260);
});
