// What screen readers and the keyboard get: names that stay true, words that are told once, focus that is never lost.
import { expect } from "@playwright/test";
import { addTests, choose, open, startAndFinish, test, twoClasses, withModules } from "./support.js";
import { pictures } from "./files.js";

const TINY = "device=cpu&model=tiny&steps=6&folds=0";

/** Notes from now on what screen readers are told; `said()` gives [id, text] of all of it. */
async function listen(page) {
  await page.evaluate(() => {
    window.said = [];
    for (const live of document.querySelectorAll("[role=status], [role=alert], [aria-live], output")) {
      new MutationObserver(() => window.said.push([live.id, live.textContent])).observe(live, { childList: true, characterData: true, subtree: true });
    }
  });
  return () => page.evaluate(() => window.said);
}

test("a renamed class is renamed for screen readers, too, and what shows on a control begins its name", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page, 1);
  await page.getByTestId("class-name").first().fill("stripes");
  await page.getByTestId("class-name").first().press("Tab");
  const card = page.getByRole("article", { name: "stripes" });
  await expect(card).toBeVisible();
  await expect(card.getByLabel("Drop or choose pictures of stripes")).toHaveCount(1);
  await expect(card.getByRole("button", { name: "Take pictures of stripes" })).toBeVisible();
  await expect(card.getByRole("button", { name: "Remove class stripes" })).toBeVisible();
  await expect(card.locator(".count")).toHaveText("1 picture");
  await addTests(page, "stripes", 0, 1);
  await expect(card.locator(".count")).toHaveText("1 + 1 test");
  for (const name of [/^Open folders/, /^Choose test pictures/, /^Composition of/, /^Save as/]) await expect(page.getByLabel(name)).toHaveCount(1);
  await expect(page.getByTestId("confusion").getByLabel("1 picture of stripes called stripes", { exact: true })).toBeVisible();
});

test("screen readers are told the same words once, and not what other words replace at once", async ({ page }) => {
  await open(page, TINY);
  const said = await listen(page);
  await page.getByTestId("example").click();
  await expect(page.locator("#told")).toHaveText("first answers are in");
  const words = await said();
  expect(words.filter(([id], index) => id === "why" && index && words.findLast((own, at) => at < index && own[0] === id)?.[1] === words[index][1])).toEqual([]);
  expect(words.filter(([id]) => id === "told").length).toBeLessThan(15);
  // A slider tells its own position.
  const before = words.length;
  await page.getByTestId("try-files").setInputFiles(pictures(1, 3, 90));
  await expect(page.locator("#told")).toHaveText("3 pictures answered");
  await page.getByTestId("threshold").press("ArrowRight");
  await expect(page.locator("#threshold-value")).toHaveText("65 %");
  expect((await said()).slice(before).filter(([id]) => id === "threshold-value")).toEqual([]);
});

test("the end of a run takes the keyboard to the results, and leaves it where the map is read", async ({ page }) => {
  await open(page, TINY.replace("steps=6", "steps=40"));
  await withModules(page);
  await twoClasses(page);
  await choose(page, ["learned"]);
  await expect(page.getByTestId("start")).toBeEnabled();
  await page.getByTestId("start").press("Enter");
  await expect(page.getByTestId("pause")).toBeFocused();
  await expect(page.getByTestId("status")).toHaveText("done");
  await expect(page.locator("#results-region")).toBeFocused();

  await page.getByTestId("start").press("Enter");
  await expect(page.locator("tr[data-method=learned]")).toContainText(/step [1-9] of/);
  const map = page.getByTestId("composition").locator("canvas.heat");
  await map.press("ArrowRight");
  await expect(page.locator(".spot")).toContainText("two");
  await expect(page.getByTestId("status")).toHaveText("done");
  await expect(page.getByTestId("composition").locator("input[type=range]")).toHaveCount(2);
  await expect(map).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(page.locator(".spot")).toContainText("two");
});

test("a download that is ended gives the keyboard back", async ({ page }) => {
  await open(page, TINY);
  await page.route("**/models/base/model.safetensors", () => {});
  await page.getByTestId("model").press("Enter");
  await page.locator("#model-shipped").press("Enter");
  await page.getByTestId("cancel-load").press("Enter");
  await expect(page.getByTestId("error")).toContainText("the download was stopped");
  await expect(page.getByTestId("model")).toBeFocused();
});

test("charts say in words what they show", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["lora"]);
  await startAndFinish(page);
  await expect(page.getByRole("img", { name: /^Loss: LoRA from scratch from \d\.\d\d to \d\.\d\d at step 6$/ })).toBeVisible();
  await expect(page.getByRole("img", { name: /^Accuracy: LoRA from scratch from \d+ % to \d+ % at step 6$/ })).toBeVisible();
  await expect(page.locator("#legend li")).toHaveText(/^LoRA from scratchloss \d\.\d\d$/);
});

test("a button that takes no files now looks like it", async ({ page }) => {
  await open(page, TINY);
  const look = (own) => [getComputedStyle(own).cursor, getComputedStyle(own).backgroundColor].join();
  const choose = page.locator("label[for=test-files]");
  const before = await choose.evaluate(look);
  expect(before).toBe(await page.getByTestId("start").evaluate(look));
  await twoClasses(page, 1);
  expect(await choose.evaluate(look)).not.toBe(before);
});

test("what floats over the page has an edge where a system replaces its colours", async ({ page }) => {
  await page.emulateMedia({ forcedColors: "active" });
  await open(page, TINY);
  await twoClasses(page, 1);
  await page.getByRole("button", { name: "Remove class along" }).click();
  const toast = page.locator("#toast");
  await expect(toast).toBeVisible();
  const [edge, paper] = await toast.evaluate((own) => [getComputedStyle(own).borderTopColor, getComputedStyle(own).backgroundColor]);
  expect(await toast.evaluate((own) => getComputedStyle(own).borderTopStyle)).toBe("solid");
  expect(edge).not.toBe(paper);
});
