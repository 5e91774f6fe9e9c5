// The parts of the page one by one: trying pictures, the confusion matrix, the library, project files, settings.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { strFromU8, unzipSync, zipSync } from "fflate";
import { projectAmong, safe } from "../../www/project.js";
import { suggested } from "../../www/suggestion.js";
import { module, pictures, png, tinyModel, writeFolder } from "./files.js";
import { TINY as MODEL } from "./setup.js";
import { addClass, addTests, choose, drop, moduleZip, open, openLibrary, replay, saveAs, scratch, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const config = JSON.parse(tinyModel()["config.json"]);
const cards = (page) => page.locator("#predictions .prediction-card");
const thumbs = (page) => page.getByTestId("class-card").locator(".thumb canvas");
/** Pictures that are read hold Start back. */
const tests = (page, words) => expect(page.locator("#test-count")).toHaveText(words);
const inUse = (page) => page.getByTestId("library").locator("li");
const names = (page) => inUse(page).locator("span").evaluateAll((spans) => spans.map((span) => span.firstChild.textContent));
const put = (page, name) => page.getByRole("button", { name: `Put back module ${name}`, exact: true });
const remove = (page, name) => page.getByRole("button", { name: `Remove module ${name}`, exact: true });

/** Marks nodes, so that a test sees whether they are still the same ones. */
const mark = (locator) => locator.evaluateAll((nodes) => nodes.forEach((node) => (node.isTheSame = true)));
const marked = (locator) => locator.evaluateAll((nodes) => nodes.filter((node) => node.isTheSame).length);

test("the slider and other pictures leave the cards of answers as they are", async ({ page }) => {
  const problems = await open(page, TINY);
  await twoClasses(page);
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%");
  await page.getByTestId("try-files").setInputFiles(pictures(1, 2, 90));
  const lines = page.locator("[data-testid=prediction]");
  await expect(lines).toHaveCount(4);
  await mark(cards(page));
  await mark(lines);
  const answers = page.locator("[data-method=linear-probe] .answer");
  await page.getByTestId("threshold").fill("0");
  await expect(answers).toHaveText(["along", "along"]);
  await page.getByTestId("threshold").fill("1");
  await expect(answers).toHaveText(["not sure", "not sure"]);
  await expect(answers.first()).toHaveClass("answer unsure");
  await expect(answers.first()).toHaveAttribute("title", "not sure; most likely along");
  await expect(page.locator("#threshold-value")).toHaveText("100 %");
  expect(await page.locator("#predictions").evaluate((list) => list.style.getPropertyValue("--threshold"))).toBe("1");
  await page.getByTestId("threshold").fill("0.05");
  await expect(answers).toHaveText(["along", "along"]);
  await expect(answers.first()).toHaveClass("answer");
  await expect(answers.first()).toHaveAttribute("title", "along");
  // Where the threshold is, on the bar of every answer.
  const [bar, at] = await Promise.all([".bar", ".at"].map((part) => lines.first().locator(part).boundingBox()));
  expect(Math.abs(at.x - (bar.x + 0.05 * bar.width))).toBeLessThan(1);
  // One more picture comes in on top.
  await page.getByTestId("try-files").setInputFiles(pictures(0, 1, 95));
  await expect(lines).toHaveCount(6);
  await expect(cards(page).first().locator("h3")).toHaveText("kind0-95.png");
  expect(await marked(cards(page))).toBe(2);
  expect(await marked(lines)).toBe(4);
  expect(problems).toEqual([]);
});

test("the learned weights show until a person chooses others, and keep to that", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  await choose(page, ["uniform", "learned", "uniform-scaled"]);
  await twoClasses(page);
  await startAndFinish(page);
  const shown = page.locator("#composed-method");
  const map = page.getByTestId("composition").locator("canvas.heat");
  await expect(shown).toHaveValue("learned");
  await expect(map).toHaveCount(1);
  // Layers that all have the same weights need no map.
  await shown.selectOption("uniform-scaled");
  await expect(map).toHaveCount(0);
  await expect(page.getByTestId("composition").locator("li")).toHaveCount(2);
  await page.getByTestId("class-card").first().getByTestId("class-files").setInputFiles(pictures(0, 1, 20));
  await startAndFinish(page);
  await expect(shown).toHaveValue("uniform-scaled");
});

test("a folder dropped on Try it is pictures to try, and no class", async ({ page }) => {
  const root = scratch();
  writeFolder(join(root, "holiday"), { "0.png": png(0, 90), "test/1.png": png(1, 91), "notes.txt": "sunny" });
  writeFolder(join(root, "lora-one"), module(config, 31));
  await open(page, TINY);
  await twoClasses(page);
  const zone = page.locator("#try-zone");
  await drop(page, zone, [join(root, "holiday")]);
  await expect(cards(page)).toHaveCount(2);
  await expect(page.locator("[data-testid=prediction][data-method=nearest-mean]")).toHaveCount(2);
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await expect(thumbs(page)).toHaveCount(6);
  await expect(page.getByTestId("error")).toBeHidden();
  await drop(page, zone, [join(root, "lora-one")]);
  await expect(page.getByTestId("error")).toContainText("no pictures in the folder");
  await expect(inUse(page)).toHaveCount(0);
});

test("a module that was taken out goes back to its place, in the worker, too", async ({ page }) => {
  await open(page, TINY);
  await openLibrary(page);
  await page.getByTestId("add-module").setInputFiles(["one", "two", "three"].map((name, index) => moduleZip(name, config, 11 + index)));
  await expect(inUse(page)).toHaveCount(3);
  const removed = page.getByTestId("library-removed");
  await expect(removed).toBeHidden();
  await remove(page, "one").click();
  await expect(remove(page, "two")).toBeFocused();
  await remove(page, "two").click();
  await expect(removed.locator("li.off")).toHaveCount(2);
  await expect(page.locator("#library-count")).toHaveText("1");
  await put(page, "two").click();
  await expect(remove(page, "two")).toBeFocused();
  await expect(page.getByTestId("status")).toHaveText("two is in the library again");
  await put(page, "one").click();
  await expect(removed).toBeHidden();
  expect(await names(page)).toEqual(["one", "two", "three"]);
  await twoClasses(page);
  await choose(page, ["uniform"]);
  await startAndFinish(page);
  await expect(page.getByTestId("composition").locator("li .bar-name")).toHaveText(["one", "two", "three"]);
  // One that a person brought is gone after a reload.
  await remove(page, "three").click();
  await expect(inUse(page)).toHaveCount(2);
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("class-card")).toHaveCount(2, { timeout: 60_000 });
  await expect(inUse(page)).toHaveCount(2);
  await expect(removed).toBeHidden();
});

test("a module that ships can be put back after a reload", async ({ page }) => {
  await open(page, "device=cpu");
  await openLibrary(page);
  const before = await names(page);
  expect(before.length).toBeGreaterThan(2);
  await remove(page, before[1]).click();
  await expect(inUse(page)).toHaveCount(before.length - 1);
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 180_000 });
  await expect(inUse(page)).toHaveCount(before.length - 1);
  await openLibrary(page);
  await expect(page.getByTestId("library-removed").locator("li")).toHaveCount(1);
  await put(page, before[1]).click();
  await expect(page.getByTestId("status")).toHaveText(`${before[1]} is in the library again`);
  expect(await names(page)).toEqual(before);
  await page.waitForTimeout(1500);
  await page.reload();
  await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 180_000 });
  await expect(inUse(page)).toHaveCount(before.length);
  await expect(page.getByTestId("library-removed").locator("li")).toHaveCount(0);
});

test("which result to take is what the command line takes", () => {
  const cases = JSON.parse(readFileSync(new URL("../golden/suggestions.json", import.meta.url)));
  expect(cases.length).toBeGreaterThan(5);
  for (const { name, results, takes, why } of cases) {
    const found = suggested(results);
    expect(found && { method: found.method, why: found.why }, name).toEqual(takes === null ? null : { method: takes, why });
  }
  const result = (method, accuracy) => ({ method, held_out_accuracy: accuracy, held_out_interval: accuracy && [accuracy - 0.1, accuracy + 0.1] });
  expect(suggested([result("linear-probe", 0.7), result("lora", null), result("nearest-mean", 0.5)]).left).toEqual(["lora"]);
  expect(suggested([result("linear-probe", null), result("lora", null)]).left).toEqual([]);
});

/** Every kind of damage: the field that must be named, and what is done to it. */
const DAMAGE = [
  ["format", (project) => (project.format = "1")],
  ["model", (project) => (project.model = 5)],
  ["config.train.num_steps", (project) => (project.config.train.num_steps = "many")],
  ["config.folds", (project) => delete project.config.folds],
  ["methods", (project) => (project.methods = {})],
  ["classes[1].name", (project) => (project.classes[1].name = null)],
  ["classes[0].train", (project) => (project.classes[0].train = "a.png")],
  ["modules", (project) => delete project.modules],
  ["results[0].held_out_interval", (project) => (project.results[0].held_out_interval = [0.5])],
  ["results[0].seconds", (project) => delete project.results[0].seconds],
  ["results[0].answers[0].class", (project) => (project.results[0].answers[0].class = 2)],
  ["results[0].confusion[1]", (project) => (project.results[0].confusion[1] = [1])],
  ["results[1].coefficients.means", (project) => (project.results[1].coefficients.means = [])],
];

test("a project with a damaged project.json is refused with its field named, and the pictures stay", async ({ page }) => {
  await open(page, TINY);
  await page.getByTestId("add-module").setInputFiles([moduleZip("one", config, 11), moduleZip("two", config, 12)]);
  await expect(inUse(page)).toHaveCount(2);
  // Before there are pictures: the probe's first answer would stay.
  await choose(page, ["nearest-mean", "uniform"]);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await tests(page, "2 in 1 class");
  await startAndFinish(page);
  const files = unzipSync(readFileSync(await saveAs(page, "save-project")));
  const described = new TextDecoder().decode(files["project.json"]);
  const give = (change) => {
    const project = JSON.parse(described);
    change(project);
    const buffer = Buffer.from(zipSync({ ...files, "project.json": new TextEncoder().encode(JSON.stringify(project)) }));
    return page.getByTestId("open-project").setInputFiles({ name: "hurt.zip", mimeType: "application/zip", buffer });
  };
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 1, 70));
  await expect(thumbs(page)).toHaveCount(7);
  const shown = page.getByTestId("error");
  for (const [field, change] of DAMAGE) {
    await give(change);
    await expect(shown, field).toContainText(`hurt.zip: project.json: ${field} is missing or of another kind; save the project again`);
    await expect(thumbs(page), field).toHaveCount(7);
    await expect(inUse(page), field).toHaveCount(2);
    await page.locator("#dismiss").click();
    await expect(shown).toBeHidden();
  }
  // Results of a method that this page does not know are left out; the rest opens, also as older versions named it.
  await give((project) => {
    project.results = project.results.map((own) => Object.fromEntries(Object.entries(own).map(([name, value]) => [name.replace("held_out_", "loo_"), value])));
    project.results.unshift({ method: "from-tomorrow" });
  });
  await expect(thumbs(page)).toHaveCount(6);
  await expect(page.getByTestId("held-out-uniform")).toContainText("%");
  await expect(shown).toBeHidden();
});

test("a project is found in its folder, and a file of another program is none", () => {
  const found = (...paths) => [...(projectAmong(paths.map((path) => [path, path]))?.keys() ?? [])];
  expect(found("project.json")).toEqual(["project.json"]);
  expect(found("p/project.json", "p/train/1-e\u0301/001-1.png", "cat/1.png")).toEqual(["project.json", "train/1-\u00e9/001-1.png"]);
  expect(found("p/project.json", "p/modules/one/adapter_config.json", "__MACOSX/p/project.json")).toEqual(["project.json", "modules/one/adapter_config.json"]);
  expect(found("mine/project.json", "mine/cat/1.png", "mine/dog/1.png")).toEqual([]);
});

/** As macOS packs a folder: around everything, accents apart from their letters, names as UTF-8 without the flag that says so. */
function packedByMac(files) {
  const around = Object.entries(files).map(([path, bytes]) => [`loraloom-project/${path}`.normalize("NFD"), bytes]);
  const buffer = Buffer.from(zipSync({ ...Object.fromEntries(around), "__MACOSX/loraloom-project/._project.json": new Uint8Array(9) }));
  const SIGNATURES = [["PK\x03\x04", 6], ["PK\x01\x02", 8]];
  for (const [signature, flags] of SIGNATURES) {
    for (let at = buffer.indexOf(signature); at >= 0; at = buffer.indexOf(signature, at + 1)) buffer[at + flags + 1] &= ~8;
  }
  return buffer;
}

test("a project that was unpacked opens as its folder, and packed again as another zip", async ({ page }) => {
  await open(page, TINY);
  await page.getByTestId("add-module").setInputFiles(moduleZip("one", config, 11));
  await expect(inUse(page)).toHaveCount(1);
  await choose(page, ["nearest-mean", "lora"]);
  await addClass(page, "été", pictures(0, 2));
  await addClass(page, "along", pictures(1, 2));
  await startAndFinish(page);
  const files = unzipSync(readFileSync(await saveAs(page, "save-project")));
  const root = scratch();
  writeFolder(join(root, "loraloom-project"), files);
  const change = async () => {
    await page.getByTestId("class-name").first().fill("changed");
    await page.getByTestId("class-name").first().press("Tab");
    await thumbs(page).first().click();
    await expect(page.getByTestId("stale")).toBeVisible();
  };
  const back = async () => {
    await expect.poll(() => page.getByTestId("class-name").evaluateAll((fields) => fields.map(({ value }) => value))).toEqual(["été", "along"]);
    await expect(thumbs(page)).toHaveCount(4);
    await expect(inUse(page)).toHaveCount(1);
    await expect(page.getByTestId("held-out-lora")).toContainText("%");
    await expect(page.getByTestId("stale")).toBeHidden();
    await expect(page.getByTestId("error")).toBeHidden();
  };
  await change();
  await page.getByTestId("open-project").setInputFiles({ name: "again.zip", mimeType: "application/zip", buffer: packedByMac(files) });
  await back();
  await change();
  await drop(page, page.locator("footer"), [join(root, "loraloom-project")]);
  await back();
  // Two of them cannot both be open.
  const two = Object.fromEntries(Object.entries(files).flatMap(([path, bytes]) => [[`a/${path}`, bytes], [`b/${path}`, bytes]]));
  await page.getByTestId("open-project").setInputFiles({ name: "two.zip", mimeType: "application/zip", buffer: Buffer.from(zipSync(two)) });
  await expect(page.getByTestId("error")).toContainText("a/project.json and b/project.json: only one project can be open");
});

test("picture names in other scripts survive a project, which replays in the command line with varied pictures", async ({ page }) => {
  const across = ["фото.png", "写真.png", "हिन्दी (2).png"];
  const along = ["صورة.png", "été.png", `${"長".repeat(120)}.png`];
  const named = (own, kind) => pictures(kind, own.length).map((picture, index) => ({ ...picture, name: own[index] }));
  await open(page, `${TINY}&augment=mirrored`);
  await expect(page.locator("#settings-line")).toHaveText("4 steps, seed 0, 2 folds, pictures cropped and mirrored, answers over five crops");
  await choose(page, ["nearest-mean", "lora"]);
  await addClass(page, "猫", named(across, 0));
  await addClass(page, "Hunde/große", named(along, 1));
  await addTests(page, "猫", 0);
  await addTests(page, "Hunde/große", 1);
  await tests(page, "4 in 2 classes");
  await startAndFinish(page);
  const shown = await page.getByTestId("held-out-lora").textContent();
  const path = await saveAs(page, "save-project");
  replay(path, MODEL, ["lora", "nearest-mean"]);
  const saved = JSON.parse(strFromU8(unzipSync(readFileSync(path))["project.json"]));
  expect(saved.config).toEqual({ train: { num_steps: 4, batch_size: 16, seed: 0, augment: true, mirror: true }, folds: 2, views: 4, multi_crop: true });
  for (const own of Object.keys(unzipSync(readFileSync(path)))) {
    expect(own).toMatch(/^(train|test)\/[^/]+\/[^/.][^/]*$|^project\.json$/);
    expect(Buffer.byteLength(own.split("/").at(-1))).toBeLessThan(256);
  }
  await page.getByTestId("open-project").setInputFiles(path);
  await expect(page.getByTestId("status")).toHaveText(/project opened|first answers/);
  await expect(thumbs(page)).toHaveCount(6);
  for (const name of [...across, "صورة.png", "été.png", `${"長".repeat(76)}.png`]) await expect(page.getByRole("button", { name: `Remove ${name}`, exact: true })).toHaveCount(1);
  await expect(page.getByTestId("class-name").last()).toHaveValue("Hunde/große");
  await expect(page.getByTestId("held-out-lora")).toHaveText(shown);
});

test("a project from before pictures were varied, or answered by several crops, opens as it was, and one of settings that the page does not have as out of date", async ({ page }) => {
  await open(page, TINY);
  await page.locator("summary", { hasText: "Settings" }).click();
  await page.getByTestId("augment").selectOption("none");
  await page.getByTestId("crops").selectOption("one");
  await choose(page, ["nearest-mean", "lora"]);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await startAndFinish(page);
  const shown = await page.getByTestId("held-out-lora").textContent();
  const files = unzipSync(readFileSync(await saveAs(page, "save-project")));
  const project = JSON.parse(strFromU8(files["project.json"]));
  expect(project.config).toEqual({ train: { num_steps: 4, batch_size: 16, seed: 0 }, folds: 2 });
  const give = async (config) => {
    const described = new TextEncoder().encode(JSON.stringify({ ...project, config }));
    const buffer = Buffer.from(zipSync({ ...files, "project.json": described }));
    await page.getByTestId("open-project").setInputFiles({ name: "old.zip", mimeType: "application/zip", buffer });
    await expect(page.getByTestId("status")).toHaveText(/project opened|first answers/);
    await expect(page.getByTestId("held-out-lora")).toHaveText(shown);
  };
  await page.getByTestId("augment").selectOption("crops");
  await page.getByTestId("crops").selectOption("five");
  await give({ train: { num_steps: 4, seed: 0 }, folds: 2 });
  await expect(page.locator("#settings-line")).toHaveText("4 steps of 32 pictures, seed 0, 2 folds");
  await expect(page.getByTestId("stale")).toBeHidden();
  await give(project.config);
  await expect(page.locator("#settings-line")).toHaveText("4 steps, seed 0, 2 folds");
  await expect(page.getByTestId("stale")).toBeHidden();
  const train = { ...project.config.train, augment: true, mirror: true };
  await give({ ...project.config, train });
  await expect(page.locator("#settings-line")).toHaveText("4 steps, seed 0, 2 folds, pictures cropped and mirrored");
  await expect(page.getByTestId("stale")).toBeVisible();
});

test("a name is one part of a path and no more", () => {
  for (const [name, expected] of [["../../etc/passwd", "etc-passwd"], ["..", "file"], [".hidden.png", "hidden.png"], ["...png", "file.png"], ["a\\b:c?.png", "a-b-c-.png"], ["e\u0301.png", "\u00e9.png"], ["", "file"]]) {
    expect(safe(name), name).toBe(expected);
  }
  expect(safe(`${"x".repeat(200)}.jpeg`)).toBe(`${"x".repeat(75)}.jpeg`);
});

test("one fold would hold everything out: it becomes two", async ({ page }) => {
  await open(page, TINY.replace("folds=2", "folds=1"));
  await page.locator("summary", { hasText: "Settings" }).click();
  const folds = page.getByTestId("folds");
  const line = page.locator("#settings-line");
  await expect(folds).toHaveValue("2");
  await expect(line).toHaveText("4 steps, seed 0, 2 folds, pictures cropped, answers over five crops");
  for (const [typed, taken] of [["0", "0"], ["1", "2"], ["5", "5"], ["1", "2"]]) {
    await folds.fill(typed);
    await folds.press("Tab");
    await expect(folds).toHaveValue(taken);
    await expect(line).toContainText(`${taken} folds`);
  }
});

test("a cell of the confusion matrix keeps the keyboard while other pictures come in", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await addTests(page, "along", 1);
  await tests(page, "4 in 2 classes");
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await page.locator("#confusion-method").selectOption("lora");
  const cells = page.getByTestId("confusion").locator("button.cell");
  const cell = page.getByTestId("confusion").locator("button.cell:not([disabled])").first();
  await cell.focus();
  await page.keyboard.press("Enter");
  const opened = page.locator("#confusion-pictures canvas");
  await expect(opened).toHaveCount(Number(await cell.textContent()));
  await mark(cells);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await expect(page.locator("[data-testid=prediction][data-method=lora]")).toHaveCount(1);
  await expect(cell).toBeFocused();
  // A picture more to learn from makes the result old, and does not change it.
  const before = await page.getByTestId("held-out-nearest-mean").textContent();
  await page.getByTestId("class-files").first().setInputFiles(pictures(0, 3, 70));
  await expect(page.getByTestId("stale")).toBeVisible();
  await expect(page.getByTestId("held-out-nearest-mean")).not.toHaveText(before);
  await expect(cell).toBeFocused();
  expect(await marked(cells)).toBe(4);
  await expect(opened).toHaveCount(Number(await cell.textContent()));
  // Other names are written anew.
  await page.getByTestId("class-name").first().fill("sideways");
  await page.getByTestId("class-name").first().press("Tab");
  await expect(page.getByTestId("confusion").locator("tbody th").first()).toHaveText("sideways");
});
