// Pictures as people have them: in trees of folders, in zips, from phones, twice, under a finger.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { zipSync } from "fflate";
import { shared, sort, unpacked } from "../../www/drops.js";
import { module, pictures, png, tinyModel, writeFolder } from "./files.js";
import { addClass, addTests, drop, open, scratch, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
/** A picture of 24x24 px as a phone would save it. */
const AVIF = Buffer.from(
  "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAANgAAAChpaW5mAAAAAAAB" +
  "AAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAGAAAABgAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAPm1kYXQS" +
  "AAoJGBEvdogIaDQgMidGseHheHMMMMCgACDO5rBkqIg3pqJ99Tyc34oCf9ovSkOgcz+2omg=", "base64");
const cards = (page) => page.getByTestId("class-card");
const thumbs = (page, index) => cards(page).nth(index).locator(".thumb canvas");
const names = (page) => page.getByTestId("class-name").evaluateAll((fields) => fields.map(({ value }) => value));

test("folders are classes, whatever lies around them", () => {
  const found = (...paths) => {
    const { classes, loose } = sort(paths.map((path) => ({ path, name: path.split("/").at(-1), type: "image/png" })));
    return [...[...classes].map(([name, { pictures: own, test: held }]) => [name, own.length, held.length]), ...(loose.length ? [["", loose.length, 0]] : [])];
  };
  expect(found("task/cat/1.png", "task/dog/1.png", "task/dog/2.png")).toEqual([["cat", 1, 0], ["dog", 2, 0]]);
  expect(found("t/train/cat/1.png", "t/test/cat/2.png", "t/val/dog/3.png")).toEqual([["cat", 1, 1], ["dog", 0, 1]]);
  expect(found("cats/train/1.png", "cats/test/2.png", "dogs/train/3.png")).toEqual([["cats", 1, 1], ["dogs", 1, 0]]);
  expect(found("cats/photos/1.png", "dogs/photos/1.png")).toEqual([["cats", 1, 0], ["dogs", 1, 0]]);
  expect(found("2024/cat/1.png", "2025/cat/1.png")).toEqual([["cat", 2, 0]]);
  expect(found("t/train/\u00e9t\u00e9/1.png", "t/test/e\u0301te\u0301/2.png")).toEqual([["\u00e9t\u00e9", 1, 1]]);
  expect(found("train/1.png", "2.png")).toEqual([["train", 1, 0], ["", 1, 0]]);
  // Classes may have the names of parts.
  expect(found("vehicles/bus/1.png", "vehicles/train/1.png")).toEqual([["bus", 1, 0], ["train", 1, 0]]);
  expect(found("parts/valid/1.png", "parts/invalid/1.png")).toEqual([["invalid", 1, 0], ["valid", 1, 0]]);
  expect(found("t/train/train/1.png", "t/train/bus/1.png", "t/test/train/1.png")).toEqual([["bus", 1, 0], ["train", 1, 1]]);
  expect(found("valid/1.png")).toEqual([["valid", 1, 0]]);
});

test("what comes from folders and zips is in the order of its names, 2 before 10; files that were chosen stay as they are", () => {
  const found = (files) => {
    const { classes, loose } = sort(files);
    return [...[...classes].map(([name, { pictures: own }]) => [name, ...own.map((file) => file.name)]), ...loose.map((file) => file.name)];
  };
  const chosen = (...paths) => paths.map((path) => ({ path, name: path.split("/").at(-1), type: "image/png" }));
  const paths = ["t/10/12.png", "t/9/2.png", "t/10/1.png", "t/9/10.png", "t/9/1.png", "t/a/1.png"];
  const inOrder = [["9", "1.png", "2.png", "10.png"], ["10", "1.png", "12.png"], ["a", "1.png"]];
  expect(found(chosen(...paths, "10.png", "9.png"))).toEqual([...inOrder, "10.png", "9.png"]);
  const zipped = (...own) => Object.fromEntries(own.map((path) => [path, new Blob([])]));
  expect(found(unpacked("t.zip", zipped(...paths)))).toEqual(inOrder);
  expect(found(unpacked("t.zip", zipped("10.png", "9.png")))).toEqual(["9.png", "10.png"]);
  expect(found(unpacked("t.zip", zipped("10.png", "9.png", "a/1.png"), true))).toEqual([["a", "1.png"], ["t", "9.png", "10.png"]]);
  // By the names of classes, also where they come in several parts.
  expect(found(chosen("t/test/2/1.png", "t/train/1/1.png")).map(([name]) => name)).toEqual(["1", "2"]);
});

test("settings without weights are a model only where they come alone", () => {
  const found = (...paths) => {
    const { model, modules, other } = sort(paths.map((path) => ({ path, name: path.split("/").at(-1), type: "" })));
    return [model, modules, other].map((files) => files.length);
  };
  expect(found("m/config.json", "m/model.safetensors", "cat/1.png")).toEqual([2, 0, 0]);
  expect(found("m/config.json", "m/preprocessor_config.json")).toEqual([2, 0, 0]);
  expect(found("m/adapter_config.json", "m/adapter_model.safetensors", "m/preprocessor_config.json")).toEqual([0, 2, 0]);
  expect(found("cat/1.png", "cat/config.json")).toEqual([0, 0, 1]);
});

test("places that are too few are shared evenly", () => {
  expect(shared([300, 300, 300], 500)).toEqual([166, 167, 167]);
  expect(shared([300, 10, 300], 500)).toEqual([245, 10, 245]);
  expect(shared([1, 2, 3], 500)).toEqual([1, 2, 3]);
  expect(shared([5, 5], -1)).toEqual([0, 0]);
});

test("one drop: every class gets pictures, capitals tell two folders apart, and what cannot be read is named", async ({ page }) => {
  // A limit that is soon reached.
  await page.route("**/classes.js", async (route) => {
    const response = await route.fetch();
    const text = await response.text();
    expect(text).toContain("const LIMIT = 500;");
    await route.fulfill({ response, body: text.replace("const LIMIT = 500;", "const LIMIT = 7;") });
  });
  // A file that went away between the drop and its reading.
  await page.addInitScript(() => {
    const { webkitGetAsEntry } = DataTransferItem.prototype;
    DataTransferItem.prototype.webkitGetAsEntry = function () {
      const entry = webkitGetAsEntry.call(this);
      if (entry?.name === "gone.png") entry.file = (_, failed) => failed(new DOMException("it is gone", "NotFoundError"));
      return entry;
    };
  });
  const root = scratch();
  const some = (kind, count) => Object.fromEntries(pictures(kind, count).map(({ name, buffer }) => [name, buffer]));
  writeFolder(root, { "gone.png": png(0, 9) });
  writeFolder(join(root, "task", "A"), some(0, 4));
  writeFolder(join(root, "task", "a"), some(1, 4));
  writeFolder(join(root, "task", "b"), some(2, 1));
  writeFolder(join(root, "trained"), { ...module(JSON.parse(tinyModel()["config.json"]), 31), "preprocessor_config.json": "{}" });
  await open(page, TINY);
  await drop(page, page.locator("footer"), ["gone.png", "task", "trained"].map((name) => join(root, name)));
  await expect(page.getByTestId("library")).toContainText("trained");
  expect((await names(page)).sort()).toEqual(["A", "a", "b"]);
  const counts = await Promise.all([0, 1, 2].map((index) => thumbs(page, index).count()));
  expect(counts.sort()).toEqual([1, 3, 3]);
  const error = page.getByTestId("error");
  await expect(error).toContainText("cannot be read, so left out: gone.png");
  await expect(error).toContainText("1 left out: at most 7 pictures fit");
  await expect(error).not.toContainText("model.safetensors");
  await page.unrouteAll();
});

test("text with a picture of it that is pasted into a field is text", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "cat", pictures(0, 1));
  const paste = (text) => page.getByTestId("class-name").evaluate((field, [bytes, words]) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
    if (words) clipboardData.setData("text/plain", words);
    field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  }, [[...png(0, 40)], text]);
  await paste("cells of a sheet");
  // What is pasted later is read later: it comes in alone.
  await paste("");
  await expect(thumbs(page, 0)).toHaveCount(2);
  await expect(page.getByTestId("status")).toHaveText(/2 pictures of cat|first answers/);
  await expect(thumbs(page, 0)).toHaveCount(2);
});

test("a zip of pictures in folders is classes, and one of nothing is told", async ({ page }) => {
  await open(page, TINY);
  const zipped = (files) => ({ name: "pictures.zip", mimeType: "application/zip", buffer: Buffer.from(zipSync(files)) });
  const files = Object.fromEntries(["cat", "dog"].flatMap((name, kind) => [0, 1].map((seed) => [`mine/${name}/${seed}.png`, new Uint8Array(png(kind, seed))])));
  await page.getByTestId("open-project").setInputFiles(zipped({ ...files, "__MACOSX/mine/cat/._0.png": new Uint8Array(9) }));
  await expect.poll(() => names(page)).toEqual(["cat", "dog"]);
  await expect(cards(page).locator(".thumb canvas")).toHaveCount(4);
  await expect(page.getByTestId("error")).toBeHidden();
  await page.getByTestId("open-project").setInputFiles(zipped({ "notes.txt": new Uint8Array(9) }));
  await expect(page.getByTestId("error")).toContainText("no pictures, no project and no PEFT module in it");
});

test("a zip of pictures in no folder is a class, as a folder is, unless it is dropped on one", async ({ page }) => {
  const root = scratch();
  const zips = Object.fromEntries(["cats", "dogs", "more"].map((name, kind) => {
    const path = join(root, `${name}.zip`);
    writeFileSync(path, zipSync(Object.fromEntries([0, 1].map((seed) => [`${seed}.png`, new Uint8Array(png(kind, seed))]))));
    return [name, path];
  }));
  await open(page, TINY);
  await drop(page, page.locator("footer"), [zips.cats, zips.dogs]);
  await expect.poll(() => names(page)).toEqual(["cats", "dogs"]);
  await expect(cards(page).locator(".thumb canvas")).toHaveCount(4);
  await expect(page.getByTestId("start")).toBeEnabled();
  await drop(page, cards(page).first(), [zips.more]);
  await expect(thumbs(page, 0)).toHaveCount(4);
  expect(await names(page)).toEqual(["cats", "dogs"]);
  await expect(page.getByTestId("error")).toBeHidden();
});

test("folders without a picture are told", async ({ page }) => {
  const root = scratch();
  writeFolder(join(root, "cat"), { "1.png": png(0, 1) });
  writeFolder(join(root, "about"), { "README.md": "hello", "Thumbs.db": "hello" });
  mkdirSync(join(root, "nothing"));
  await open(page, TINY);
  const error = page.getByTestId("error");
  await drop(page, page.locator("footer"), ["nothing", "cat", "about"].map((name) => join(root, name)));
  await expect(thumbs(page, 0)).toHaveCount(1);
  await expect(error).toContainText("nothing: no pictures in it · about: no pictures in it");
  await expect(error).not.toContainText("cat");
  await page.locator("#dismiss").click();
  await page.locator("#folder-files").setInputFiles(join(root, "about"));
  await expect(error).toContainText("about: no pictures in it");
  expect(await names(page)).toEqual(["cat"]);
});

test("pictures that are learned from twice are told, in one class and in two, and stay", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  const error = page.getByTestId("error");
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await expect(error).toBeHidden();
  await page.getByTestId("class-files").first().setInputFiles([...pictures(0, 1, 40), { ...pictures(0, 1)[0], name: "again.png" }]);
  await expect(error).toContainText("again.png: more than once in “across”, so that the held-out accuracy tends to be too high");
  await page.locator("#dismiss").click();
  await page.getByTestId("class-files").last().setInputFiles(pictures(0, 1, 1));
  await expect(error).toContainText("kind0-1.png: in “across” and “along”");
  await expect(error).not.toContainText("more than once");
  await expect(thumbs(page, 0)).toHaveCount(5);
  await expect(thumbs(page, 1)).toHaveCount(4);
});

test("a zip gives its pictures and its modules, with folders after backslashes, and says what is not used", async ({ page }) => {
  await open(page, TINY);
  const files = { ...module(JSON.parse(tinyModel()["config.json"]), 31), "photos\\cat\\1.png": png(0, 1), "photos\\cat\\2.jfif": png(0, 2), "photos\\dog\\1.png": png(1, 1), "photos\\dog\\": "",
    "notes.txt": "hello", "README.md": "hello", "more.zip": "hello" };
  const buffer = Buffer.from(zipSync(Object.fromEntries(Object.entries(files).map(([path, content]) => [path, new Uint8Array(Buffer.from(content))]))));
  await page.getByTestId("open-project").setInputFiles({ name: "both.zip", mimeType: "application/zip", buffer });
  await expect.poll(() => names(page)).toEqual(["cat", "dog"]);
  await expect(thumbs(page, 0)).toHaveCount(2);
  await expect(thumbs(page, 1)).toHaveCount(1);
  await expect(page.getByTestId("library")).toContainText("both");
  await expect(page.getByTestId("error")).toContainText("not used: more.zip · notes.txt; pictures");
});

test("a phone's picture is read by way of the browser, and kept", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "phone", [{ name: "IMG 1.avif", mimeType: "image/avif", buffer: AVIF }]);
  await expect(page.getByRole("button", { name: "Remove IMG 1.png", exact: true })).toHaveCount(1);
  const damaged = Buffer.concat([AVIF.subarray(0, 40), Buffer.alloc(60)]);
  await page.getByTestId("class-files").setInputFiles({ name: "IMG 2.heic", mimeType: "image/heic", buffer: damaged });
  await expect(page.getByTestId("error")).toContainText("IMG 2.heic: this browser cannot read it; save it as JPEG or PNG first");
  await page.waitForTimeout(1_500); // Longer than the page waits before it keeps a change.
  await page.reload();
  await expect(thumbs(page, 0)).toHaveCount(1, { timeout: 120_000 });
});

test("two classes of one name stay two, until somebody renames one", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "dog", pictures(0, 2));
  await addClass(page, "dog", pictures(1, 3));
  await page.waitForTimeout(1_500);
  await page.reload();
  await expect(cards(page).locator(".thumb canvas")).toHaveCount(5, { timeout: 120_000 });
  await expect(thumbs(page, 0)).toHaveCount(2);
  await expect(thumbs(page, 1)).toHaveCount(3);
});

test("test pictures show, go one by one, and are told when they were learned from", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await addTests(page, "across", 0);
  const shown = page.locator("#test-thumbs .thumb");
  await expect(shown).toHaveCount(2);
  await expect(page.getByTestId("error")).toBeHidden();
  await shown.first().click();
  await expect(shown).toHaveCount(1);
  await expect(shown.first()).toBeFocused();
  await page.keyboard.press("Control+z");
  await expect(shown).toHaveCount(2);
  await expect(shown.last()).toBeFocused();
  await shown.first().click();
  await page.getByTestId("undo").click();
  await expect(shown).toHaveCount(2);
  await page.locator("#test-class").selectOption({ label: "across" });
  await page.getByTestId("test-files").setInputFiles(pictures(0, 1));
  await expect(shown).toHaveCount(3);
  await expect(page.getByTestId("error")).toContainText("1 picture is both to learn from and to test");
});

test("what is dropped on the test pictures and fits nowhere says so", async ({ page }) => {
  const root = scratch();
  writeFolder(root, { "1.png": png(0, 1), "notes.txt": Buffer.from("hello") });
  writeFolder(join(root, "elsewhere"), { "2.png": png(0, 2) });
  await open(page, TINY);
  const error = page.getByTestId("error");
  const dropOn = (name) => drop(page, page.locator("#test-zone"), [join(root, name)]);
  await dropOn("1.png");
  await expect(error).toContainText("make a class first");
  await twoClasses(page);
  await dropOn("notes.txt");
  await expect(error).toContainText("no test pictures: notes.txt");
  await dropOn("elsewhere");
  await expect(error).toContainText("no class is called “elsewhere”");
  await expect(cards(page)).toHaveCount(2);
  await expect(page.locator("#test-count")).toBeEmpty();
});

test("many pictures lie in rows, none on another", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "many", pictures(0, 40));
  const boxes = await thumbs(page, 0).evaluateAll((canvases) => canvases.map((canvas) => canvas.parentElement.getBoundingClientRect()).map(({ top, bottom }) => ({ top, bottom })));
  const rows = boxes.filter(({ top }, index) => !index || top > boxes[index - 1].top);
  expect(rows.length).toBeGreaterThan(4);
  rows.slice(1).forEach(({ top }, index) => expect(top).toBeGreaterThan(rows[index].bottom));
});

test("a tried picture can be taken away", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await page.getByTestId("try-files").setInputFiles(pictures(0, 2, 90));
  const tried = page.locator("#predictions article");
  await expect(tried).toHaveCount(2);
  await tried.first().getByRole("button", { name: /away$/ }).click();
  await expect(tried).toHaveCount(1);
  await expect(tried.first().getByRole("button")).toBeFocused();
});

test("a finger's first tap takes no picture away, and long names move nothing aside", async ({ browser, baseURL }) => {
  const context = await browser.newContext({ baseURL, viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, serviceWorkers: "block" });
  const page = await context.newPage();
  await open(page, TINY);
  await addClass(page, "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen", pictures(0, 3));
  await thumbs(page, 0).first().tap();
  await expect(page.locator(".thumb.armed")).toHaveCount(1);
  await expect(thumbs(page, 0)).toHaveCount(3);
  await page.locator(".thumb.armed").tap();
  await expect(thumbs(page, 0)).toHaveCount(2);
  await expect(page.getByTestId("status")).not.toContainText("Ctrl");
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  await context.close();
});
