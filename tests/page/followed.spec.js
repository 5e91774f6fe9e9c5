// What was learned follows what changes around it, without being learned anew: test pictures, names of classes, and what is undone.
import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { strFromU8, unzipSync } from "fflate";
import { pictures } from "./files.js";
import { addTests, choose, expectSame, open, predictions, saveAs, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";

const row = (page, name) => page.locator(`tr[data-method=${name}]`);
const accuracy = (page, name) => page.getByTestId(`accuracy-${name}`);
const tryOne = (page) => page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
const answers = async (page, name) => (await predictions(page)).filter(([own]) => own === name);

async function train(page, methods, anew = true) {
  if (anew) await twoClasses(page);
  await choose(page, methods);
  await startAndFinish(page);
}

/** What is saved of a method: `task.json`, and the path of the zip. */
async function saved(page, name) {
  await page.locator("#export-method").selectOption(name);
  const path = await saveAs(page, "export-adapter");
  const files = unzipSync(readFileSync(path));
  return { path, task: JSON.parse(strFromU8(files[Object.keys(files).find((file) => file.endsWith("task.json"))])) };
}

async function reload(page) {
  await page.waitForTimeout(1500); // What is kept is written a moment later.
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2, { timeout: 180_000 });
}

const openTask = (page, path) => page.getByTestId("open-project").setInputFiles({ name: "mine.zip", mimeType: "application/zip", buffer: readFileSync(path) });

test("test pictures that come later are measured on, and nothing is learned anew", async ({ page }) => {
  await open(page, TINY);
  await train(page, ["nearest-mean", "lora", "full"]);
  await tryOne(page);
  await expect.poll(() => answers(page, "lora")).toHaveLength(1);
  const before = await answers(page, "lora");
  expect((await saved(page, "lora")).task.measured.test_accuracy).toBeNull();
  await addTests(page, "across", 0);
  await addTests(page, "along", 1);
  for (const name of ["nearest-mean", "lora", "full"]) await expect(accuracy(page, name)).toContainText("%");
  await expect(page.getByTestId("stale")).toBeHidden();
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
  await expect(row(page, "lora")).toContainText("4 steps");
  await expect(page.locator("#confusion .cell")).toHaveCount(4);
  expectSame(await answers(page, "lora"), before);
  const said = Number((await accuracy(page, "lora").locator("strong").textContent()).replace(" %", ""));
  const { task } = await saved(page, "lora");
  expect(Math.round(100 * task.measured.test_accuracy)).toBe(said);
  // What the browser keeps of it says so, too, and is measured on others after a reload.
  const told = await row(page, "lora").textContent();
  await reload(page);
  await expect(row(page, "lora")).toHaveText(told);
  await expect.poll(async () => (await page.locator("#export-method option").allTextContents()).includes("LoRA from scratch")).toBe(true);
  await page.locator("#test-clear").click();
  await expect(accuracy(page, "lora")).toHaveText("–");
  await expect(row(page, "lora")).not.toHaveClass(/old/);
  // Of full fine-tuning only the numbers are left: nobody can measure it.
  await expect(row(page, "full")).toHaveClass(/old/);
  await expect(page.getByTestId("stale")).toBeVisible();
});

test("a class that is renamed is renamed in answers and in what is saved, and stays so", async ({ page }) => {
  await open(page, TINY);
  await train(page, ["nearest-mean", "lora"]);
  await tryOne(page);
  await expect.poll(() => answers(page, "lora")).toHaveLength(1);
  const before = await answers(page, "lora");
  const name = page.getByTestId("class-name").last();
  await name.fill("bars");
  await name.press("Tab");
  const renamed = before.map(([method, label, ...rest]) => [method, label === "along" ? "bars" : label, ...rest]);
  expect(renamed).not.toEqual(before);
  await expect.poll(async () => (await answers(page, "lora"))[0][1]).toBe("bars");
  expectSame(await answers(page, "lora"), renamed);
  await expect(page.getByTestId("stale")).toBeHidden();
  expect((await saved(page, "lora")).task.classes).toEqual(["across", "bars"]);
  await reload(page);
  await tryOne(page);
  await expect.poll(async () => (await answers(page, "lora"))[0]?.[1]).toBe("bars");
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
});

test("a saved task is measured on test pictures of its classes", async ({ page }) => {
  await open(page, TINY);
  await train(page, ["lora"]);
  const { path } = await saved(page, "lora");
  await openTask(page, path);
  await expect(page.getByTestId("honest")).toContainText("Test pictures measure it here");
  await expect(accuracy(page, "lora")).toHaveText("–");
  await addTests(page, "across", 0);
  await expect(accuracy(page, "lora")).toContainText("%");
  await expect(page.getByTestId("stale")).toBeHidden();
  await reload(page);
  await expect(accuracy(page, "lora")).toContainText("%");
  await expect.poll(async () => (await page.locator("#export-method option").allTextContents()).join()).toBe("LoRA from scratch");
  expect((await saved(page, "lora")).task.measured.test_accuracy).not.toBeNull();
  // Without test pictures stands what it says of itself.
  await openTask(page, path);
  await expect(page.getByTestId("honest")).toContainText("was measured there");
  await addTests(page, "across", 0);
  await expect(page.getByTestId("honest")).not.toContainText("was measured there");
  await page.locator("#test-clear").click();
  await expect(page.getByTestId("honest")).toContainText("was measured there");
  await expect(accuracy(page, "lora")).toHaveText("–");
});

test("what could not be measured before a reload is measured after it", async ({ page }) => {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const stuck = source.replace("engine.test(method, test)", "new Promise(() => {})");
    expect(stuck).not.toBe(source);
    await route.fulfill({ response, body: stuck });
  });
  await open(page, TINY);
  await train(page, ["lora"]);
  await addTests(page, "across", 0);
  await expect(row(page, "lora")).toContainText("waiting");
  await page.waitForTimeout(1500); // What is kept is written a moment later.
  await page.unroute("**/worker.js");
  await page.reload();
  await expect(accuracy(page, "lora")).toContainText("%", { timeout: 180_000 });
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
});

test("Undo brings back what was learned before a saved task was opened", async ({ page }) => {
  await open(page, TINY);
  await train(page, ["nearest-mean", "lora"]);
  const { path } = await saved(page, "lora");
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 1, 60));
  await train(page, ["nearest-mean", "lora"], false);
  await tryOne(page);
  await expect.poll(() => predictions(page)).toHaveLength(2);
  const [before, told] = [await predictions(page), await row(page, "lora").textContent()];
  await openTask(page, path);
  await expect(page.getByTestId("status")).toHaveText("mine.zip is open: try it with new pictures");
  await expect(row(page, "nearest-mean")).toHaveCount(0);
  await page.getByTestId("undo").click();
  await expect(row(page, "nearest-mean")).toBeVisible();
  await expect(row(page, "lora")).toHaveText(told);
  await expect(page.getByTestId("honest")).not.toContainText("learned elsewhere");
  await expect.poll(() => predictions(page)).toHaveLength(2);
  await expect.poll(async () => (await answers(page, "lora"))[0][2]).toBe(before.find(([name]) => name === "lora")[2]);
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
  await expect(page.locator("#export-method option")).toHaveCount(2);
});

test("Undo brings back the settings and methods from before a project was opened", async ({ page }) => {
  await open(page, TINY);
  const [line, lora, full] = [page.locator("#settings-line"), page.getByTestId("method-lora"), page.getByTestId("method-full")];
  await train(page, ["nearest-mean", "lora"]);
  const path = await saveAs(page, "save-project");
  await line.click();
  await page.getByTestId("steps").fill("6");
  await page.getByTestId("folds").fill("0");
  await page.getByTestId("folds").press("Tab");
  await train(page, ["nearest-mean", "full"], false);
  await expect(row(page, "full")).toContainText("6 steps");
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(line).toContainText("4 steps, seed 0, 2 folds");
  await expect(lora).toBeChecked();
  await expect(row(page, "lora")).toContainText("4 steps");
  await page.getByTestId("undo").click();
  await expect(line).toContainText("6 steps, seed 0, 0 folds");
  await expect(lora).not.toBeChecked();
  await expect(full).toBeChecked();
  await expect(row(page, "full")).toContainText("6 steps");
  await expect(row(page, "lora")).toHaveCount(0);
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
});

test("a method that was stopped before its first step is no result", async ({ page }) => {
  await open(page, "device=cpu&steps=200&folds=0");
  await twoClasses(page);
  const methods = ["lora", "learned", "learned-free", "uniform+lora", "learned+lora", "full"];
  await choose(page, ["nearest-mean", ...methods]);
  await page.getByTestId("start").click();
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("start")).toBeVisible({ timeout: 120_000 });
  const rows = await Promise.all(methods.map(async (name) => [name, await page.locator(`tr[data-method="${name}"] small`).first().textContent()]));
  const none = rows.filter(([, note]) => note === "stopped before it had an answer").map(([name]) => name);
  const some = rows.filter(([, note]) => /^\d+ steps?, /.test(note)).map(([name]) => name);
  expect([...none, ...some].sort(), JSON.stringify(rows)).toEqual([...methods].sort());
  expect(none.length, "Stop comes before the first step of the last ones").toBeGreaterThan(0);
  const offered = await page.locator("#export-method option").evaluateAll((options) => options.map((option) => option.value));
  expect(offered.filter((name) => methods.includes(name)).sort()).toEqual([...some].sort());
});
