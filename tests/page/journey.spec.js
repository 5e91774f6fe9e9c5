// The whole journey on the CPU device with the embedded model.
import { readFileSync } from "node:fs";
import { expect } from "@playwright/test";
import { unzipSync } from "fflate";
import { pictures } from "./files.js";
import { addTests, choose, clearAndReopen, expectSame, moduleZip, open, openLibrary, predict, predictions, reload, replay, saidUntil, saveAs, startAndFinish, test, twoClasses } from "./support.js";

const BASE = new URL("../../target/site/models/base/", import.meta.url).pathname;
const config = () => JSON.parse(readFileSync(`${BASE}config.json`, "utf8"));

test("drop, adapt, predict, save, reload, reopen, replay in the command line", async ({ page }) => {
  const problems = await open(page, "device=cpu&steps=4&folds=2");
  await expect(page.getByTestId("device")).toContainText("CPU");
  await expect(page.getByTestId("start")).toBeDisabled();
  await expect(page.locator("#why")).toContainText("add at least two classes");
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config(), 11), moduleZip("two", config(), 12)]);
  await expect(page.getByTestId("library").locator("li", { hasText: "two" })).toHaveCount(1);

  // The first answers come before anything trains.
  await twoClasses(page);
  await addTests(page, "across", 0);
  await addTests(page, "along", 1);
  await expect(page.locator("#test-count")).toHaveText("4 in 2 classes");
  await expect(page.getByTestId("accuracy-linear-probe")).toContainText("%");
  await expect(page.locator("#rows tr.old")).toHaveCount(0);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await expect(page.locator("[data-testid=prediction][data-method=nearest-mean]")).toHaveAttribute("data-label", "along");

  await choose(page, ["nearest-mean", "uniform", "learned"]);
  await startAndFinish(page);
  for (const name of ["nearest-mean", "uniform", "learned"]) {
    await expect(page.getByTestId(`accuracy-${name}`)).toContainText("%");
    await expect(page.getByTestId(`held-out-${name}`)).toContainText("%");
  }
  await expect(page.getByTestId("loss-chart").locator("canvas").first()).toBeVisible();
  await expect(page.getByTestId("composition").locator("li")).toHaveCount(await page.getByTestId("library").locator("li").count());
  await expect(page.getByTestId("helped")).not.toBeEmpty();
  await expect(page.getByTestId("confusion").locator("button.cell")).toHaveCount(4);
  await page.getByTestId("confusion").locator("button.cell:not([disabled])").first().click();
  await expect(page.locator("#confusion-pictures canvas").first()).toBeVisible();
  // Answers of the run follow its end; before it the two instant methods had answered.
  const answering = async () => (await predictions(page)).map(([method]) => method).sort();
  // The probe's answers are of the same pictures: they stay.
  await expect.poll(answering).toEqual(["learned", "linear-probe", "nearest-mean", "uniform"]);
  const before = await predictions(page);

  // A dragged bar answers as "Your mix".
  const mixed = page.locator("[data-testid=prediction][data-method=mixed]");
  await page.getByTestId("composition").locator("input[type=range]").first().fill("0.9");
  await expect(mixed).toHaveCount(1);
  await expect(page.getByTestId("helped")).toContainText("own mix");
  await page.getByTestId("unmix").click();
  await expect(mixed).toHaveCount(0);
  await expect(page.getByTestId("helped")).not.toContainText("own mix");

  // What is suggested is what is kept, unless a person asks for another.
  const taken = page.locator("#export-method option:checked");
  await expect(taken).toHaveText(await page.getByTestId("suggested").locator("strong").textContent());
  for (const name of [await page.locator("#export-method").inputValue(), "learned"]) {
    await page.locator("#export-method").selectOption(name);
    const adapter = unzipSync(readFileSync(await saveAs(page, "export-adapter")));
    expect(Object.keys(adapter).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors", "task.json"].map((file) => `loraloom-${name}/${file}`));
    expect(JSON.parse(new TextDecoder().decode(adapter[`loraloom-${name}/adapter_config.json`])).peft_type).toBe("LORA");
  }
  // The command line says what the page says, of an adapter on the embedded model and of a model of its own.
  const answer = before.filter(([name]) => name === "learned");
  for (const form of ["cat", "merged"]) {
    await page.locator("#export-form").selectOption(form);
    expectSame(predict(await saveAs(page, "export-adapter"), "learned", pictures(1, 1, 90)), answer);
  }
  await page.locator("#export-form").selectOption("2");
  await saveAs(page, "export-adapter");
  await expect(page.locator("#export-note")).toContainText(/rank 2 \d+\.\d % .* lost/);

  const path = await saveAs(page, "save-project");
  replay(path, BASE, ["learned", "linear-probe", "nearest-mean", "uniform"]);

  await reload(page);
  await expect(page.locator("#test-count")).toHaveText("4 in 2 classes");
  await clearAndReopen(page, path);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await startAndFinish(page);
  // The worker composes the modules of the project, and no others.
  await expect(page.getByTestId("composition").locator("li")).toHaveCount(await page.getByTestId("library").locator("li").count());
  await expect(page.locator("[data-testid=prediction][data-method=learned]")).toHaveCount(1);
  expectSame(await predictions(page), before.filter(([method]) => method !== "linear-probe"));
  expect(problems).toEqual([]);
});

test("the example needs one click, pausing holds the step, and what a person says is heard within half a second", async ({ page }) => {
  await open(page, "device=cpu&steps=500&folds=2");
  await page.getByTestId("example").click();
  await expect(page.getByTestId("class-card")).toHaveCount(6);
  await expect(page.getByTestId("accuracy-linear-probe")).toContainText("%");
  // Methods that train side by side take turns: all of them have to make way.
  await choose(page, ["linear-probe", "learned", "lora", "full"]);
  await expect(page.getByTestId("start")).toBeEnabled();
  await page.getByTestId("start").click();
  const row = page.locator("tr[data-method=lora]");
  const step = async () => Number(/step (\d+)/.exec(await row.textContent())?.[1] ?? 0);
  const next = (before) => expect.poll(step, { timeout: 120_000 }).toBeGreaterThan(before);
  await next(0);
  const waits = [];
  for (let pauses = 0; pauses < 7; pauses += 1) {
    waits.push((await saidUntil(page, "pause", "paused")).at(-1).after);
    await page.waitForTimeout(1_000); // A helper may be in the last part of its step.
    const held = await step();
    expect(held).toBeGreaterThan(0);
    await page.waitForTimeout(pauses ? 500 : 15_000);
    expect(await step()).toBe(held);
    await page.getByTestId("pause").click();
    await next(held);
  }
  const said = await saidUntil(page, "stop", "stopped");
  expect(said[0].text).toBe("stopping");
  expect(said[0].after).toBeLessThan(500);
  waits.push(said.at(-1).after);
  console.log(`heard after ${waits.map(Math.round).join(", ")} ms`);
  // The worker answers between two parts of a step. An answer may meet a moment in which the machine does something else.
  const sorted = waits.toSorted((a, b) => a - b);
  expect(sorted[5]).toBeLessThan(500);
  expect(sorted[6]).toBeLessThan(1_000);
  expect(sorted[7]).toBeLessThan(2_000);
  await expect(row).toContainText(/measuring|steps, /);
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await expect(page.getByTestId("accuracy-lora")).toContainText("%");
  await expect(page.getByTestId("start")).toBeEnabled();
});
