// While pictures are read: the page is left, a project is saved, a class is taken away.
import { expect } from "@playwright/test";
import { pictures } from "./files.js";
import { open, saveAs, slowPictures, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
/** How late the worker gets each picture, in milliseconds. */
const LATE = 100;
const MORE = 20;
const thumbs = (page) => page.getByTestId("class-card").locator(".thumb canvas");

/** Two classes with three pictures each; of those that come into the second one some are in. */
async function whileRead(page) {
  await open(page, TINY);
  await twoClasses(page);
  await page.waitForTimeout(1_500); // Longer than the page waits before it keeps a change.
  await page.evaluate(slowPictures, LATE);
  await page.getByTestId("class-files").last().setInputFiles(pictures(1, MORE, 40));
  await expect.poll(() => thumbs(page).count()).toBeGreaterThan(10);
  expect(await thumbs(page).count()).toBeLessThan(6 + MORE);
}

test("a page that is left while pictures are read warns, and keeps those that are in", async ({ page }) => {
  await whileRead(page);
  const asked = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.type());
    dialog.accept();
  });
  const count = await thumbs(page).count();
  await page.reload();
  expect(asked).toEqual(["beforeunload"]);
  await expect.poll(() => thumbs(page).count()).toBeGreaterThanOrEqual(count);
  await expect(page.getByTestId("error")).toBeHidden();
});

test("pictures that are in are kept while others are read", async ({ page }) => {
  // As if the tab were gone without a word.
  await page.addInitScript(() => {
    const { addEventListener } = EventTarget.prototype;
    EventTarget.prototype.addEventListener = function (type, ...rest) {
      if (!["beforeunload", "pagehide", "visibilitychange"].includes(type)) addEventListener.call(this, type, ...rest);
    };
  });
  await page.route("**/visit.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    expect(source).toContain("const KEEP_EVERY = 5000;");
    await route.fulfill({ response, body: source.replace("const KEEP_EVERY = 5000;", "const KEEP_EVERY = 200;") });
  });
  await whileRead(page);
  const count = await thumbs(page).count();
  // So many are kept a moment later.
  await page.waitForTimeout(600);
  expect(await thumbs(page).count()).toBeLessThan(6 + MORE);
  await page.reload();
  await expect.poll(() => thumbs(page).count()).toBeGreaterThanOrEqual(count);
  await page.unrouteAll();
});

test("a project is saved when all pictures are read, and not before", async ({ page }) => {
  await whileRead(page);
  await page.getByTestId("save-project").click();
  await expect(page.getByTestId("error")).toContainText("wait until all pictures are read");
  await expect(thumbs(page)).toHaveCount(6 + MORE);
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  await saveAs(page, "save-project");
  await expect(page.getByTestId("status")).toHaveText("project saved");
});

test("a class that is taken away while it is read holds nothing up, and comes back with all its pictures", async ({ page }) => {
  await whileRead(page);
  await page.getByRole("button", { name: "Remove class along" }).click();
  await expect(page.locator("#why")).toContainText("add at least two classes");
  await page.waitForTimeout(3 * LATE);
  await page.getByTestId("undo").click();
  await expect(thumbs(page)).toHaveCount(6 + MORE);
  await expect(page.getByTestId("status")).toHaveText("first answers are in");
  const names = await page.getByTestId("class-card").last().locator(".thumb").evaluateAll((buttons) => buttons.map(({ title }) => title));
  expect(new Set(names).size).toBe(3 + MORE);
});

test("Ctrl+Z brings a class back from the field that got the keyboard, unless somebody typed there", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  const names = page.getByTestId("class-name");
  const remove = async () => {
    await page.getByRole("button", { name: "Remove class across" }).click();
    await expect(names).toHaveCount(1);
    await expect(names).toBeFocused();
  };
  await remove();
  await page.keyboard.press("Control+z");
  await expect(names).toHaveCount(2);
  await remove();
  await page.keyboard.type("!");
  await expect(names).not.toHaveValue("along");
  await page.keyboard.press("Control+z");
  await expect(names).toHaveValue("along");
  await expect(names).toHaveCount(1);
  await page.getByTestId("undo").click();
  await expect(thumbs(page)).toHaveCount(6);
});
