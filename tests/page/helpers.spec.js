// Several workers on one run: who does what, the same results as with one, and what happens when one of them fails.
import { expect } from "@playwright/test";
import { roomFor, shareOut } from "../../www/crew.js";
import { Folds } from "../../www/folds.js";
import { pictures } from "./files.js";
import { addTests, choose, expectSame, open, predictions, startAndFinish, test, twoClasses, withModules } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const METHODS = ["nearest-mean", "uniform", "learned", "lora"];

test("work is shared out among helpers", () => {
  expect(shareOut(METHODS, 2, 0)).toEqual({ here: METHODS, helpers: [] });
  expect(shareOut(["nearest-mean", "uniform"], 2, 3)).toEqual({ here: ["nearest-mean", "uniform"], helpers: [] });
  expect(shareOut(METHODS, 2, 1)).toEqual({ here: ["nearest-mean", "uniform", "learned"], helpers: [["lora"]] });
  // The third helper begins with folds.
  expect(shareOut(METHODS, 2, 3)).toEqual({ here: ["nearest-mean", "uniform"], helpers: [["learned"], ["lora"], []] });
  expect(shareOut(["lora"], 0, 3)).toEqual({ here: ["lora"], helpers: [] });
  expect(shareOut(["lora"], 2, 1)).toEqual({ here: ["lora"], helpers: [[]] });
  expect(shareOut(["learned", "lora", "full"], 0, 1)).toEqual({ here: ["learned", "full"], helpers: [["lora"]] });
});

test("a large photo that was read leaves room for helpers, a large model does not", () => {
  const MB = 2 ** 20;
  expect(roomFor(65 * MB, 9 * MB, 20, [96, 96])).toBe(3);
  expect(roomFor(471 * MB, 9 * MB, 20, [96, 96])).toBe(3);
  expect(roomFor(900 * MB, 88 * MB, 20, [224, 224])).toBe(1);
  expect(roomFor(1500 * MB, 350 * MB, 20, [224, 224])).toBe(0);
});

test("folds are run once each, and again by another hand where one fails", async () => {
  const folds = new Folds(["learned", "lora"], 3);
  const ran = [];
  const slow = folds.work(async (fold) => {
    ran.push(fold);
    await new Promise((resolve) => setTimeout(resolve, 5));
    throw new Error("this hand is gone");
  });
  const other = async (fold) => {
    ran.push(fold);
    // There are two folds, where three were asked for.
    return fold.index < 2 ? { total: fold.index } : undefined;
  };
  await Promise.allSettled([slow, folds.work(other)]);
  await folds.work(other);
  expect(ran.length).toBe(7);
  expect(await folds.of("lora")).toEqual([{ total: 0 }, { total: 1 }]);
  expect((await folds.of("learned")).map(({ total }) => total).sort()).toEqual([0, 1]);

  // A method that fails in a fold fails; the others go on.
  const one = new Folds(["learned", "lora"], 2);
  const failed = { code: "mismatch", message: "not a number" };
  await one.work(({ method }) => (method === "lora" ? Promise.reject(failed) : { total: 1 }));
  expect(await one.of("lora")).toEqual({ failed });
  expect(await one.of("learned")).toEqual([{ total: 1 }, { total: 1 }]);

  const stopped = new Folds(["lora"], 2);
  await stopped.work(({ index }) => (index ? null : { total: 1 }));
  expect(await stopped.of("lora")).toBe(null);
  expect(await new Folds(["lora"], 0).of("lora")).toEqual([]);
});

/** The page as if the machine had so many cores; what it says of its helpers. */
async function withCores(page, cores, faults = [], others = []) {
  const told = [];
  page.on("console", (message) => message.text().startsWith("helper ") && told.push(message.text()));
  const change = (file, changes) => page.route(`**/${file}`, async (route) => {
    const response = await route.fetch();
    let body = await response.text();
    for (const [from, to] of changes) {
      expect(body).toContain(from);
      body = body.replace(from, to);
    }
    await route.fulfill({ response, body });
  });
  await change("crew.js", [
    ["(navigator.hardwareConcurrency ?? 1)", String(cores)],
    ["helper.start();", 'helper.start(); console.log("helper begins");'],
    ["engine.takeOver(", 'console.log("helper learned", event.report.method), engine.takeOver('],
    ...others,
  ]);
  await change("worker.js", faults);
  await open(page, TINY);
  await withModules(page);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await addTests(page, "along", 1);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await choose(page, METHODS);
  return told;
}

async function setSteps(page, steps) {
  await page.getByTestId("steps").fill(String(steps));
  await page.getByTestId("steps").press("Tab");
}

/** What the page shows of every method. */
async function results(page) {
  const shown = {};
  for (const name of METHODS) shown[name] = await Promise.all([`accuracy-${name}`, `held-out-${name}`].map((id) => page.getByTestId(id).textContent()));
  // One method answers before another.
  for (const name of METHODS) await expect(page.locator(`[data-testid=prediction][data-method=${name}]`)).toHaveCount(1);
  return { shown, answers: await predictions(page) };
}

test("several workers learn what one learns", async ({ page, context }) => {
  const alone = await withCores(page, 1);
  await startAndFinish(page);
  expect(alone).toEqual([]);
  const expected = await results(page);
  for (const [accuracy, held] of Object.values(expected.shown)) expect(accuracy + held).toMatch(/%.*%/);

  const other = await (await context.browser().newContext({ ...test.info().project.use, serviceWorkers: "block" })).newPage();
  const told = await withCores(other, 3);
  await startAndFinish(other);
  expect(told.sort()).toEqual(["helper begins", "helper begins", "helper learned learned", "helper learned lora"]);
  const found = await results(other);
  expect(found.shown).toEqual(expected.shown);
  // First answers of other methods may have come before those were unticked, or not.
  const ours = (answers) => answers.filter(([method]) => METHODS.includes(method));
  expectSame(ours(found.answers), ours(expected.answers));
  // What a helper learned can be mixed and saved here.
  await other.getByTestId("composition").locator("input[type=range]").first().fill("0.9");
  await expect(other.locator("[data-testid=prediction][data-method=mixed]")).toHaveCount(1);
  await other.context().close();
});

for (const [when, call] of [["while it trains", "engine.adapt(request, tell, foldsOf)"], ["in a fold", "engine.fold(method, index, request, tell)"], ["before it begins", "engine.addCrop(picture, crop)"]]) {
  test(`a helper that fails ${when} is done without`, async ({ page }) => {
    // Only helpers are asked for these by a message.
    const told = await withCores(page, 2, [[call, `(engine.panic() ?? ${call})`]]);
    await startAndFinish(page);
    expect(told[0]).toBe("helper begins");
    await expect(page.getByTestId("error")).toBeHidden();
    const { shown } = await results(page);
    for (const [accuracy, held] of Object.values(shown)) expect(accuracy + held).toMatch(/%.*%/);
  });
}

test("a method that fails in a fold leaves the others alone", async ({ page }) => {
  await withCores(page, 2, [], [["await hand.fold(name, index, this.request, (event) => this.tell(event))", 'name === "lora" ? await Promise.reject({ code: "mismatch", message: "lora: not a number" }) : await hand.fold(name, index, this.request, (event) => this.tell(event))']]);
  await startAndFinish(page);
  await expect(page.getByTestId("error").locator("span")).toHaveText("LoRA from scratch: not a number");
  await expect(page.locator("tr[data-method=lora]")).toContainText("failed");
  await expect(page.getByTestId("held-out-learned")).toContainText("%");
});

test("helpers pause and stop with the run", async ({ page }) => {
  await withCores(page, 2);
  await page.getByText("Settings", { exact: false }).first().click();
  await setSteps(page, 2000);
  await page.getByTestId("start").click();
  const row = (name) => page.locator(`tr[data-method=${name}]`);
  for (const name of ["learned", "lora"]) await expect(row(name)).toContainText(/step [1-9]/);
  await page.getByTestId("pause").click();
  await expect(page.getByTestId("status")).toHaveText("paused");
  await page.waitForTimeout(500);
  const before = await row("lora").textContent();
  await page.waitForTimeout(1_000);
  expect(await row("lora").textContent()).toBe(before);
  await page.getByTestId("pause").click();
  await expect(row("lora")).not.toHaveText(before);
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  for (const name of ["learned", "lora"]) {
    await expect(page.getByTestId(`accuracy-${name}`)).toContainText("%");
    await expect(page.getByTestId(`held-out-${name}`)).toHaveText("–");
  }
  // The next run is a whole one.
  await setSteps(page, 4);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toContainText("%");
});

test("a picture that is removed while helpers learn from it ends no run", async ({ page }) => {
  // The worker is slow to begin, so that the run is still on its way when the pictures go.
  await withCores(page, 2, [["engine.forget(methods)", "new Promise((resolve) => setTimeout(resolve, 3000)).then(() => engine.forget(methods))"]]);
  await page.getByText("Settings", { exact: false }).first().click();
  await setSteps(page, 40);
  await page.getByTestId("start").click();
  // Pictures that go before this are no part of the run.
  await expect(page.getByTestId("pause")).toBeVisible();
  await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
  await page.getByRole("button", { name: "Remove class along" }).click();
  await expect(page.getByTestId("status")).toHaveText("done", { timeout: 200_000 });
  await expect(page.getByTestId("error")).toBeHidden();
  for (const name of ["learned", "lora"]) await expect(page.getByTestId(`held-out-${name}`)).toContainText("%");
});
