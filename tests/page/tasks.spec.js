// Saved tasks open again: here, after a reload, on another model, and from the command line.
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { unzipSync, zipSync } from "fflate";
import { pictures, tinyModel, writeFolder } from "./files.js";
import { TINY as TINY_MODEL } from "./setup.js";
import { addClass, choose, chooseOwnModel, drop, expectSame, open, openLibrary, predictions, saveAs, scratch, startAndFinish, test, twoClasses, withModules } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const tried = pictures(1, 1, 90);

const of = (found, name) => found.filter(([own]) => own === name);
const openZip = (page, path, name = "task.zip") => page.getByTestId("open-project").setInputFiles({ name, mimeType: "application/zip", buffer: readFileSync(path) });
const answering = async (page) => (await predictions(page)).map(([name]) => name);

/** Trains on two classes: the paths of what is saved of some methods, and what they say of a picture. */
async function train(page, methods, form = "cat") {
  await withModules(page);
  await twoClasses(page);
  await choose(page, methods);
  await page.getByTestId("try-files").setInputFiles(tried);
  await startAndFinish(page);
  const paths = [];
  for (const name of methods) {
    await page.locator("#export-method").selectOption(name);
    if (name !== "full") await page.locator("#export-form").selectOption(form);
    paths.push(await saveAs(page, "export-adapter"));
  }
  await expect.poll(() => answering(page)).toEqual(expect.arrayContaining(methods));
  return { paths, before: await predictions(page) };
}

async function startAnew(page, query) {
  await page.getByTestId("clear").click();
  await page.getByTestId("clear-now").click();
  await page.waitForEvent("load");
  await open(page, query);
  await expect(page.getByTestId("class-card")).toHaveCount(0);
}

/** A method answers on the next visit, and no other one. */
async function answersAfterReload(page, name) {
  await page.waitForTimeout(1500); // What is kept is written a moment later.
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2, { timeout: 180_000 });
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(() => answering(page)).toEqual([name]);
}

/** A task that the command line learned on stripes and saved, and what it says of the picture that is tried. */
function learnedElsewhere(root, method, model = TINY_MODEL) {
  const kinds = [["across", 0], ["along", 1]].map(([name, kind]) => [name, pictures(kind, 3)]);
  writeFolder(root, Object.fromEntries([...kinds.flatMap(([name, own]) => own.map((file) => [`train/${name}/${file.name}`, file.buffer])), [tried[0].name, tried[0].buffer]]));
  const loraloom = (...args) => execFileSync(process.env.LORALOOM, [...args, "--device", "cpu"]);
  loraloom("adapt", "--model", model, "--train", join(root, "train"), "--modules", "none", "--methods", method, "--steps", "4", "--folds", "2", "--save", join(root, "stripes"));
  loraloom("predict", "--task", join(root, "stripes"), "--json", join(root, "out.json"), join(root, tried[0].name));
  const [{ top: [best] }] = JSON.parse(readFileSync(join(root, "out.json"), "utf8"));
  return [[method, best.label, best.probability]];
}

test("a saved task answers again without its pictures, and after a reload", async ({ page }) => {
  await open(page, TINY);
  const { paths, before } = await train(page, ["learned", "linear-probe"]);
  const row = (name) => page.locator(`tr[data-method=${name}]`).textContent();
  const shown = { learned: await row("learned"), "linear-probe": await row("linear-probe") };
  await startAnew(page, TINY);
  for (const [index, name] of ["learned", "linear-probe"].entries()) {
    await openZip(page, paths[index], "mine.zip");
    await expect(page.getByTestId("status")).toHaveText("mine.zip is open: try it with new pictures");
    await expect(page.getByTestId("class-card")).toHaveCount(2);
    await expect(page.getByTestId("class-name").last()).toHaveValue("along");
    await page.getByTestId("try-files").setInputFiles(tried);
    await expect.poll(() => answering(page)).toEqual([name]);
    expectSame(await predictions(page), of(before, name));
    expect(await row(name)).toBe(shown[name]);
    await page.getByRole("button", { name: `Take ${tried[0].name} away` }).click();
  }
  // What was not measured is not made up.
  await expect(page.getByTestId("accuracy-linear-probe")).toHaveText("–");
  await expect(page.getByTestId("honest")).toContainText("from 6 pictures");
  await openZip(page, paths[0], "mine.zip");
  await expect(page.locator("tr[data-method=learned]")).toBeVisible();
  await answersAfterReload(page, "learned");
  expectSame(await predictions(page), of(before, "learned"));
  // It is saved as it came, and can go on from pictures of its classes.
  expect(unzipSync(readFileSync(await saveAs(page, "export-adapter")))).toEqual(unzipSync(readFileSync(paths[0])));
  for (const [at, kind] of [[0, 0], [1, 1]]) await page.getByTestId("class-files").nth(at).setInputFiles(pictures(kind, 3));
  await choose(page, ["lora", "linear-probe"]);
  await startAndFinish(page);
  await expect.poll(async () => (await answering(page)).sort()).toEqual(["learned", "linear-probe", "lora"]);
  expectSame((await predictions(page)).filter(([name]) => name === "learned"), of(before, "learned"));
  // Trained anew, it takes the place of the one that was opened.
  await withModules(page);
  await choose(page, ["learned"]);
  await startAndFinish(page);
  await expect(page.getByTestId("honest")).not.toContainText("learned elsewhere");
  await expect(page.locator("tr[data-method=learned]")).toContainText("4 steps");
});

test("a whole model that was saved is opened as a model and answers", async ({ page }) => {
  await open(page, TINY);
  const { paths, before } = await train(page, ["full"]);
  await startAnew(page, TINY);
  const root = scratch();
  writeFolder(root, unzipSync(readFileSync(paths[0])));
  await drop(page, page.locator("footer"), [join(root, "loraloom-full-model")]);
  await expect(page.getByTestId("status")).toHaveText("loraloom-full-model is open: try it with new pictures");
  await expect(page.getByTestId("model")).toContainText("loraloom-full-model");
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(() => answering(page)).toEqual(["full"]);
  expectSame(await predictions(page), of(before, "full"));
  await page.waitForTimeout(1500);
  await page.goto("?device=cpu");
  await expect(page.getByTestId("model")).toContainText("loraloom-full-model", { timeout: 180_000 });
  await expect(page.getByTestId("class-card")).toHaveCount(2, { timeout: 180_000 });
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(() => answering(page)).toEqual(["full"]);
  expectSame(await predictions(page), of(before, "full"));
});

test("what the command line learned opens, on the model that it was learned on alone", async ({ page }) => {
  const root = scratch();
  const said = learnedElsewhere(root, "lora");
  await open(page, TINY);
  await twoClasses(page);
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(async () => (await answering(page)).sort()).toEqual(["linear-probe", "nearest-mean"]);
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("status")).toHaveText("stripes is open: try it with new pictures");
  await expect.poll(() => answering(page)).toEqual(["lora"]);
  expectSame(await predictions(page), said);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(0);
  // The pictures before come back.
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);

  // Another model: it says so, and nothing is lost.
  await chooseOwnModel(page, 5);
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%");
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("error")).toContainText("open the model that it was learned on first");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%");
});

test("a saved task brings the model that it was learned on", async ({ page }) => {
  await open(page, "device=cpu&model=base&folds=0");
  await twoClasses(page);
  await choose(page, ["linear-probe"]);
  await page.getByTestId("try-files").setInputFiles(tried);
  await startAndFinish(page);
  const before = await predictions(page);
  const path = await saveAs(page, "export-adapter");
  await startAnew(page, TINY);
  await openZip(page, path);
  await expect(page.getByTestId("status")).toHaveText("task.zip is open: try it with new pictures", { timeout: 120_000 });
  await expect(page.getByTestId("model")).toContainText("loraloom-base");
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(() => answering(page)).toEqual(["linear-probe"]);
  expectSame(await predictions(page), before);
  // It is the model that ships, whose own size the task states: choosing it changes nothing.
  await page.getByTestId("model").click();
  await page.getByTestId("model-shipped").click();
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(page.locator("tr[data-method=linear-probe]")).toBeVisible();
  expectSame(await predictions(page), before);
});

test("neither settings nor modules of the page are part of a saved task", async ({ page }) => {
  const root = scratch();
  learnedElsewhere(root, "lora");
  await open(page, TINY);
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("status")).toHaveText("stripes is open: try it with new pictures");
  await page.locator("summary", { hasText: "Settings" }).click();
  await page.getByTestId("seed").fill("7");
  await withModules(page);
  await expect(page.getByTestId("stale")).toBeHidden();
  await answersAfterReload(page, "lora");
  const project = saveAs(page, "save-project");
  await expect(page.getByTestId("status")).toContainText("without the saved task that is open");
  await project;
  // On the library it is a module like any other.
  await openLibrary(page);
  await drop(page, page.locator("#modules"), [join(root, "stripes")]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(3);
  await expect(page.getByTestId("class-card")).toHaveCount(2);
});

test("a saved task that is not to be opened costs nothing", async ({ page }) => {
  const root = scratch();
  learnedElsewhere(root, "lora");
  const path = join(root, "stripes", "task.json");
  await open(page, "device=cpu&model=tiny&steps=2000&folds=0");
  // Before there are pictures: the probe's first answer would stay.
  await choose(page, ["nearest-mean", "lora"]);
  await twoClasses(page);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step \d/);
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("error")).toContainText("stop first");
  await expect(page.getByTestId("stop")).toBeVisible();
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await page.locator("#dismiss").click();
  // Of a model of the Hub, which a person does not want to fetch.
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), model: "some/one", model_sha256: "0".repeat(64) }));
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.locator("#fetch-model")).toContainText("some/one");
  await page.getByRole("button", { name: "Do not open it" }).click();
  await expect(page.locator("#fetch-model")).toBeHidden();
  // What comes after the answer comes before the worker's next one.
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(async () => (await answering(page)).sort()).toEqual(["lora", "nearest-mean"]);
  await expect(page.getByTestId("error")).toBeHidden();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await expect(page.locator("tr[data-method=lora]")).not.toHaveClass(/old/);
  // Prepared as this page does not.
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), cropping: "squeeze" }));
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("error").locator("span")).toHaveText(/^lora: its pictures were prepared in another way/);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
});

test("a saved task and the model that it was learned on open together, and what is refused ends no first answers", async ({ page }) => {
  const root = scratch();
  const mine = join(root, "mine");
  writeFolder(mine, tinyModel(5));
  const said = learnedElsewhere(root, "lora", mine);
  await open(page, TINY);
  await addClass(page, "across", pictures(0, 40));
  await addClass(page, "along", pictures(1, 39));
  // The last picture has first answers begin; they make room for what is refused, and come all the same.
  await page.getByTestId("class-files").last().setInputFiles(pictures(1, 1, 60));
  await drop(page, page.locator("footer"), [join(root, "stripes")]);
  await expect(page.getByTestId("error")).toContainText("open the model that it was learned on first");
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%");
  await expect(page.locator("tr[data-method=linear-probe]")).not.toHaveClass(/old/);
  await page.locator("#dismiss").click();

  await drop(page, page.locator("footer"), [join(root, "stripes"), mine]);
  await expect(page.getByTestId("status")).toHaveText("stripes is open: try it with new pictures");
  await expect(page.getByTestId("model")).toContainText("mine");
  await page.getByTestId("try-files").setInputFiles(tried);
  await expect.poll(() => answering(page)).toEqual(["lora"]);
  expectSame(await predictions(page), said);
  // In one folder, too, and once more beside the model that is open.
  for (const name of ["adapter_config.json", "adapter_model.safetensors", "task.json"]) copyFileSync(join(root, "stripes", name), join(mine, name));
  await drop(page, page.locator("footer"), [mine]);
  await expect(page.getByTestId("status")).toHaveText("mine is open: try it with new pictures");
  await expect(page.locator("tr[data-method=lora]")).toBeVisible();
  await chooseOwnModel(page, 6);
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await drop(page, page.locator("footer"), [mine]);
  await expect(page.getByTestId("status")).toHaveText("mine is open: try it with new pictures");
  await expect(page.getByTestId("model")).toContainText("mine");
});

test("what is no whole task is refused, and of several the adapters are modules", async ({ page }) => {
  const root = scratch();
  learnedElsewhere(root, "lora");
  const file = (name) => readFileSync(join(root, "stripes", name));
  const task = JSON.parse(file("task.json"));
  await open(page, TINY);
  await twoClasses(page);
  const refused = async (changed, words) => {
    const files = { "task.json": file("task.json"), "adapter_config.json": file("adapter_config.json"), "adapter_model.safetensors": file("adapter_model.safetensors"), ...changed };
    const zip = Object.fromEntries(Object.entries(files).flatMap(([name, content]) => (content ? [[name, new Uint8Array(Buffer.from(content))]] : [])));
    writeFileSync(join(root, "bad.zip"), zipSync(zip));
    await openZip(page, join(root, "bad.zip"), "bad.zip");
    await expect(page.getByTestId("error")).toContainText(words);
    await page.locator("#dismiss").click();
    await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  };
  await refused({ "task.json": "{" }, "bad.zip: task.json is not JSON");
  await refused({ "task.json": JSON.stringify({ ...task, format: 2 }) }, "its format is 2");
  await refused({ "task.json": JSON.stringify({ ...task, classes: "many" }) }, "bad.zip: task.json: classes");
  await refused({ "task.json": JSON.stringify({ ...task, method: "magic" }) }, "magic");
  await refused({ "task.json": JSON.stringify({ ...task, classes: ["a", "b", "c"] }) }, "task.json names 3 classes, and the head answers for 2");
  await refused({ "task.json": JSON.stringify({ ...task, merged: true }) }, "config.json is missing");
  await refused({ "adapter_model.safetensors": undefined }, "adapter_model.safetensors is missing");

  await openLibrary(page);
  for (const name of ["first", "second"]) writeFolder(join(root, "several", name), Object.fromEntries(["task.json", "adapter_config.json", "adapter_model.safetensors"].map((own) => [own, file(own)])));
  await drop(page, page.locator("footer"), [join(root, "several")]);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(2);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  const zips = ["third", "fourth"].map((name) => {
    const path = join(root, `${name}.zip`);
    writeFileSync(path, zipSync(Object.fromEntries(["task.json", "adapter_config.json", "adapter_model.safetensors"].map((own) => [own, new Uint8Array(file(own))]))));
    return path;
  });
  await drop(page, page.locator("footer"), zips);
  await expect(page.getByTestId("library").locator("li")).toHaveCount(4);
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
});
