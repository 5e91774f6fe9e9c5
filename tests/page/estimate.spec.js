// How much longer a run takes.
import { expect } from "@playwright/test";
import { Estimate } from "../../www/estimate.js";
import { choose, open, startAndFinish, test, twoClasses } from "./support.js";

const step = (method, at, of = 40) => ({ type: "progress", progress: { phase: "step", method, step: at, num_steps: of } });
const fold = (method, at, of = 3) => ({ type: "progress", progress: { phase: "fold", method, fold: at, num_folds: of } });

test("what is left follows from the share of steps and folds that are done", () => {
  const run = new Estimate(["linear-probe", "learned", "lora"], { images: 12, batchSize: 16, folds: 3 });
  expect(run.left(0), "nothing is known").toBe("");
  // Two methods of 40 steps, and three folds of each that cost two thirds: six trainings in all.
  run.hear(step("learned", 0), 10);
  run.hear(step("learned", 8), 12);
  expect(run.left(12), "too early").toBe("");
  for (let at = 1; at <= 40; at += 1) run.hear(step("learned", at), 10 + at / 4);
  expect(run.left(20), "a sixth took ten seconds").toBe("about 50 s left");
  expect(run.left(27), "until more is heard").toBe("about 45 s left");
  run.pause(30);
  expect(run.left(99)).toBe("about 40 s left");
  run.goOn(130);
  expect(run.left(130)).toBe("about 40 s left");
  // Half of all is done in 40 seconds without the pause.
  run.hear(step("lora", 40), 135);
  const known = run.left(140);
  run.hear(fold("learned", 0), 140);
  expect(run.left(140), "what says nothing new changes nothing").toBe(known);
  expect(known).toMatch(/^about \d+ s left$/);
  run.hear(fold("learned", 3), 150);
  run.hear(fold("lora", 1), 150);
  const left = 40 * (4 / 3 / (14 / 3));
  expect(run.left(150)).toBe(`about ${5 * Math.round(left / 5)} s left`);
  run.hear({ type: "failed", method: "lora", message: "" }, 150);
  expect(run.left(150), "nothing trains any more, and what goes on says nothing").toBe("");
});

test("a method that fails early takes nothing of the others' time away", () => {
  const names = ["learned", "lora", "full"];
  const run = new Estimate(names, { images: 12, batchSize: 16, folds: 0 });
  for (const name of names) run.hear(step(name, 0), 0);
  for (const name of names) run.hear(step(name, 10), 30);
  expect(run.left(30)).toBe("about 2 min left");
  run.hear({ type: "failed", method: "full", message: "" }, 30);
  for (const name of names.slice(0, 2)) run.hear(step(name, 20), 50);
  expect(run.left(50), "half of the two is done").toBe("about 50 s left");
});

test("folds of a full batch, and on a GPU, take as long as all pictures do", () => {
  const left = (what) => {
    const run = new Estimate(["lora"], { folds: 3, batchSize: 16, ...what });
    run.hear(step("lora", 0), 0);
    run.hear(step("lora", 40), 10);
    return run.left(10);
  };
  expect(left({ images: 12 })).toBe("about 20 s left");
  expect(left({ images: 24 })).toBe("about 30 s left");
  expect(left({ images: 24, batchSize: 32 })).toBe("about 20 s left");
  expect(left({ images: 96 })).toBe("about 30 s left");
  expect(left({ images: 12, onGpu: true })).toBe("about 30 s left");
});

test("folds that nothing is left out for count nothing, and long runs are told in minutes", () => {
  const run = new Estimate(["full"], { images: 4, batchSize: 16, folds: 0 });
  run.hear(step("full", 1, 1000), 0);
  run.hear(step("full", 101, 1000), 60);
  expect(run.left(60)).toBe("about 9 min left");
  const quick = new Estimate(["nearest-mean"], { images: 12, batchSize: 16, folds: 3 });
  quick.hear(fold("nearest-mean", 1), 5);
  expect(quick.left(5)).toBe("");
});

test("a run says how long it takes, and a pause holds that", async ({ page }) => {
  await open(page, "device=cpu&model=tiny&steps=2000&folds=0");
  await choose(page, ["lora"]);
  await twoClasses(page);
  await page.getByTestId("start").click();
  const left = page.getByTestId("left");
  await expect(left).toHaveText(/^(about \d+ (s|min) left|nearly done)$/, { timeout: 60_000 });
  await page.getByTestId("pause").click();
  await expect(page.getByTestId("status")).toHaveText("paused");
  const held = await left.textContent();
  await page.waitForTimeout(2500);
  await expect(left).toHaveText(held);
  await page.getByTestId("stop").click();
  await expect(left).toBeEmpty();
  await expect(page.getByTestId("start")).toBeVisible({ timeout: 60_000 });
  // One that is over before anything can be said says nothing.
  await page.locator("#settings-line").click();
  await page.getByTestId("steps").fill("2");
  await page.getByTestId("steps").press("Tab");
  await startAndFinish(page);
  await expect(left).toBeEmpty();
});
