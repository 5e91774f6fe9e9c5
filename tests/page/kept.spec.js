// What was learned answers again: on the next visit, and when a worker fails.
import { expect } from "@playwright/test";
import { Learned } from "../../www/learned.js";
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

/** A run with one result that no worker has, and an engine that says what it was told. */
function parts(takeBack = async () => {}) {
  const own = { adapter: { task: "{}", config: "{}", weights: new Blob(["weights"]) }, live: false, report: {} };
  const found = new Map([["lora", own], ["nearest-mean", { live: false, report: {} }]]);
  const run = { found, state: "idle", busy: false, isFresh: true, refresh() {} };
  found.learned = () => run.isFresh;
  Object.defineProperty(found, "live", { get: () => [...found].filter(([, each]) => each.live).map(([name]) => name) });
  const told = [];
  const engine = {
    takeBack: async () => (told.push("take back"), takeBack(run)),
    forget: async ([name]) => told.push(`forget ${name}`),
    saveTask: async (name) => (told.push(`save ${name}`), { files: { "task.json": "{}", "adapter_config.json": "{}", "adapter_model.safetensors": new Blob([name]) } }),
  };
  return { own, run, told, learned: new Learned(engine, run) };
}

test("what was learned is given back once, and only where it is of what the page shows", async () => {
  const { own, run, told, learned } = parts();
  run.isFresh = false;
  expect(await learned.giveBack()).toBe(false);
  run.isFresh = true;
  run.busy = true;
  expect(await learned.giveBack()).toBe(false);
  expect(told).toEqual([]);
  run.busy = false;
  expect(await Promise.all([learned.giveBack(), learned.giveBack()])).toEqual([true, false]);
  expect([own.live, told]).toEqual([true, ["take back"]]);
});

test("what is not wanted any more when the worker has it is forgotten", async () => {
  for (const change of [(run) => run.found.clear(), (run) => (run.isFresh = false), (run) => (run.busy = true)]) {
    const { own, told, learned } = parts(async (run) => change(run));
    expect(await learned.giveBack()).toBe(false);
    expect([own.live, told]).toEqual([false, ["take back", "forget lora"]]);
  }
  // Trained anew meanwhile: the worker has that.
  const { told, learned } = parts(async (run) => run.found.set("lora", { live: true }));
  expect(await learned.giveBack()).toBe(false);
  expect(told).toEqual(["take back"]);
});

test("what the model refuses is not asked for again, and what a lost worker did not take is", async () => {
  for (const [code, times] of [["mismatch", 1], ["restarted", 2]]) {
    const { own, told, learned } = parts(async () => Promise.reject({ code, message: "" }));
    for (let time = 0; time < 2; time += 1) expect(await learned.giveBack()).toBe(false);
    expect([own.live, told.length], code).toEqual([false, times]);
  }
});

test("new results are kept once, and what a reload would lose is known", async () => {
  const { own, run, told, learned } = parts();
  Object.assign(own, { live: true, adapter: undefined });
  for (const name of ["full", "nearest-mean"]) run.found.set(name, { live: true, report: {} });
  expect(await Promise.all([learned.keep(), learned.keep()])).toEqual([true, false]);
  expect(told).toEqual(["save lora"]);
  expect(learned.unkept).toBe(true);
  run.found.delete("full");
  expect(learned.unkept).toBe(false);
  // What says other things by now is kept again, once.
  own.unsaved = true;
  expect([await learned.keep(), await learned.keep()]).toEqual([true, false]);
  // What is out of date is not given back after a reload.
  run.isFresh = false;
  expect(learned.unkept).toBe(true);
});

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
  await expect(page.locator("#export-note")).toContainText("loraloom predict --task loraloom-full-model.zip photo.jpg");
  await page.locator("#export-method").selectOption("nearest-mean");
  await expect(page.locator("#export-form")).toHaveValue("cat");
  await expect(page.getByTestId("join-library")).toBeEnabled();
});
