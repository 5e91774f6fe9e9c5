// Bad input, failures, and a network that is gone.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { unzipSync } from "fflate";
import { pictures, tinyModel, writeFolder } from "./files.js";
import { addClass, choose, chooseOwnModel, drop, moduleZip, open, openLibrary, saveAs, scratch, startAndFinish, test, traceTasks, twoClasses } from "./support.js";

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

test("a change is kept, even when the page is left at once", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await page.waitForTimeout(1_500); // Longer than the page waits before it keeps a change.
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 2, 40));
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(8);
  await page.reload();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(8, { timeout: 120_000 });
});

test("many pictures are kept, even when the page is left while they are written", async ({ page }) => {
  await page.route("**/store.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const slow = source.replace("const AT_ONCE = 25", "const AT_ONCE = 2").replace("await put({ fresh: fresh.splice(0, AT_ONCE) });", "await new Promise((resolve) => setTimeout(resolve, 5000)).then(() => put({ fresh: fresh.splice(0, AT_ONCE) }));");
    expect(slow).toContain("5000");
    expect(slow).toContain("AT_ONCE = 2;");
    await route.fulfill({ response, body: slow });
  });
  // What is written only while the page is taken down Chromium may lose: here it always does.
  await page.addInitScript(() => addEventListener("pagehide", () => (IDBTransaction.prototype.commit = IDBTransaction.prototype.abort)));
  await open(page, TINY);
  await addClass(page, "many", pictures(0, 12));
  await page.waitForTimeout(1_500); // Longer than the page waits before it keeps a change.
  await page.reload();
  await expect(page.locator("#class-count")).toHaveText("12 pictures", { timeout: 120_000 });
});

test("of two tabs one keeps, and says so", async ({ page, context }) => {
  await open(page, TINY);
  const other = await context.newPage();
  await open(other, TINY);
  await expect(other.locator("#kept")).toContainText("Another tab");
  await twoClasses(page);
  await page.waitForTimeout(1_500);
  // What the second tab does takes nothing from the first.
  await addClass(other, "elsewhere", pictures(2, 2));
  await other.waitForTimeout(1_500);
  await page.close();
  await expect(other.locator("#kept")).toContainText("save a project here");
  await other.reload();
  await expect(other.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6, { timeout: 120_000 });
  await expect(other.locator("#kept")).toContainText("kept in this browser");
});

test("a tab that does not keep can clear everything, and the one that keeps goes on keeping", async ({ page, context }) => {
  await open(page, TINY);
  await twoClasses(page);
  await page.waitForTimeout(1_500);
  const other = await context.newPage();
  await other.goto(`?${TINY}`);
  await expect(other.getByTestId("held-out-nearest-mean")).toContainText("%", { timeout: 120_000 });
  await expect(other.locator("#kept")).toContainText("Another tab");
  await other.locator("#clear").click();
  await other.locator("#clear-now").click();
  await expect(other.getByTestId("status")).toHaveText("ready");
  await expect(other.getByTestId("class-card")).toHaveCount(0);
  await other.close();
  // The first one has lost nothing, and keeps all of it again with its next change.
  await addClass(page, "third", pictures(2, 2));
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(8);
  await page.waitForTimeout(1_500);
  await page.reload();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(8, { timeout: 120_000 });
});

test("what a run stopped in its folds gave is no whole result", async ({ page }) => {
  await open(page, "device=cpu&model=tiny&steps=30&folds=20");
  // Before there are pictures: the probe's first answer would stay.
  await choose(page, ["nearest-mean", "lora"]);
  await twoClasses(page, 12);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/holding out, fold ([2-9]|1\d)/, { timeout: 120_000 });
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await expect(page.getByTestId("held-out-lora")).toHaveText("–");
  const project = JSON.parse(new TextDecoder().decode(unzipSync(readFileSync(await saveAs(page, "save-project")))["project.json"]));
  expect(project.results.map(({ method }) => method)).toEqual(["nearest-mean"]);
  await expect(page.getByTestId("status")).toContainText("without the results");
});

test("numbers from before stay until there are new ones", async ({ page }) => {
  await open(page, "device=cpu&model=tiny&steps=2000&folds=0&seed=1");
  await twoClasses(page);
  await page.getByText("Settings", { exact: false }).first().click();
  await page.getByTestId("steps").fill("4");
  await page.getByTestId("steps").press("Tab");
  await choose(page, ["lora"]);
  await startAndFinish(page);
  const row = page.locator("tr[data-method=lora]");
  const parameters = await row.locator("td").last().textContent();
  expect(parameters).toMatch(/\d/);
  await page.getByTestId("steps").fill("2000");
  await page.getByTestId("steps").press("Tab");
  await expect(row).toHaveClass("old");
  await page.getByTestId("start").click();
  await expect(row).toContainText(/step [1-9]/);
  await expect(row.locator("td").last()).toHaveText(parameters);
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await expect(row).not.toHaveClass("old");
});

test("one method that fails leaves the others alone", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  const config = JSON.parse(tinyModel()["config.json"]);
  // LoraHub mixes factors, which need one rank.
  await page.getByTestId("add-module").setInputFiles([moduleZip("two", config, 11, 2), moduleZip("four", config, 12, 4)]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await twoClasses(page);
  await choose(page, ["uniform", "learned", "lorahub"]);
  await startAndFinish(page);
  await expect(page.getByTestId("error")).toContainText("rank");
  await expect(page.locator("tr[data-method=lorahub]")).toContainText("failed");
  await expect(page.getByTestId("held-out-learned")).toContainText("%");
  await expect(page.getByTestId("held-out-uniform")).toContainText("%");
});

test("of two models that are chosen the last one opens", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  let release;
  const slow = new Promise((resolve) => (release = resolve));
  await page.route("**/models/base/model.safetensors", async (route) => {
    await slow;
    await route.continue().catch(() => {}); // The page has given it up.
  });
  await page.getByTestId("model").click();
  await page.locator("#model-shipped").click();
  await expect(page.getByTestId("cancel-load")).toBeVisible();
  await chooseOwnModel(page, 7);
  await expect(page.getByTestId("model")).toContainText("dropped model");
  release();
  await page.waitForTimeout(2_000);
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await expect(page.getByTestId("error")).toBeHidden();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);

  // A download that is cancelled leaves the model in use.
  await page.unroute("**/models/base/model.safetensors");
  await page.route("**/models/base/model.safetensors", () => {});
  await page.getByTestId("model").click();
  await page.locator("#model-shipped").click();
  await page.getByTestId("cancel-load").click();
  await expect(page.getByTestId("error")).toContainText("the download was stopped");
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await startAndFinish(page);
});

test("a class that is removed while another model opens takes no other picture with it", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page, 6);
  await addClass(page, "third", pictures(2, 6));
  await page.getByRole("button", { name: "Remove class third" }).click();
  await chooseOwnModel(page, 7);
  // A second removal lets go of the first one for good, while pictures are put back.
  await page.getByRole("button", { name: "Remove kind0-5.png" }).click();
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await expect(page.getByTestId("start")).toBeEnabled();
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("error")).toBeHidden();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(11);
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

test("a project that is saved beside a run does not stand at the top for good", async ({ page }) => {
  await open(page, TINY.replace("steps=4", "steps=2000"));
  await twoClasses(page);
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await saveAs(page, "save-project");
  await expect(page.getByTestId("status")).toContainText("project saved");
  await expect(page.getByTestId("status")).toHaveText("adapting");
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
});

test("one picture per class is enough, and the page says what cannot be measured", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page, 1);
  await choose(page, ["nearest-mean", "linear-probe", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toHaveText("–");
  await expect(page.getByTestId("honest")).toContainText("nothing to measure with");
  await expect(page.getByTestId("suggested")).toHaveText("Suggested: LoRA from scratch, which gained most on other tasks: nothing was held out here.");
  await choose(page, ["nearest-mean"]);
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 2, 50));
  await expect(page.getByTestId("honest")).toContainText("each of 3 pictures is left out once, in 2 groups. The only picture of a class is not left out.");
});

test("answers below the threshold are not sure", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("accuracy-linear-probe")).toBeVisible();
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  const answer = page.locator("[data-testid=prediction][data-method=linear-probe]");
  // Half way between a guess and certainty, until somebody says otherwise.
  await expect(page.locator("#threshold-value")).toHaveText("75 %");
  await addClass(page, "around", pictures(2, 3));
  await expect(page.locator("#threshold-value")).toHaveText("65 %");
  await page.getByTestId("threshold").fill("0");
  await expect(answer).toContainText("along");
  await page.getByTestId("threshold").fill("1");
  await expect(answer).toContainText("not sure");
});

test("a hidden tab goes on, and one that was frozen says that it waited", async ({ page }) => {
  await open(page, TINY.replace("steps=4", "steps=2000"));
  await twoClasses(page);
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  const step = async () => Number(/step (\d+)/.exec(await page.locator("tr[data-method=lora]").textContent())?.[1] ?? 0);
  await expect.poll(step).toBeGreaterThan(0);
  // A headless browser hides no tab: the page is told that it is hidden, and the worker is held up for real.
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  const before = await step();
  await expect.poll(step).toBeGreaterThan(before);
  await hide(false);
  await expect(page.getByTestId("status")).toContainText("went on while this tab was hidden");

  const [worker] = page.workers();
  const held = worker.evaluate((time) => {
    const end = performance.now() + time;
    while (performance.now() < end);
  }, 6_000);
  let last;
  await expect.poll(async () => {
    const before = last;
    last = await step();
    return last === before;
  }, { intervals: [1_000] }).toBe(true);
  await hide(true);
  await page.waitForTimeout(500);
  await hide(false);
  await expect(page.getByTestId("status")).toContainText("waited while this tab was hidden", { timeout: 1_000 });
  await held;
  const after = await step();
  await expect.poll(step).toBeGreaterThan(after);
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
    const faulty = source.replace("crew.adapt(engine,", `engine.${failure}() ?? crew.adapt(engine,`);
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
  const root = scratch();
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
