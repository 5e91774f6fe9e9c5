// Anyone can use it: axe at three widths and both themes, and the keyboard alone.
import AxeBuilder from "@axe-core/playwright";
import { expect } from "@playwright/test";
import { addTests, choose, open, startAndFinish, test, twoClasses, withModules } from "./support.js";
import { pictures } from "./files.js";

const TINY = "device=cpu&model=tiny&steps=6&folds=2";

async function serious(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(", ")}`);
}

for (const scheme of ["light", "dark"]) {
  test(`axe finds nothing serious, ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page, TINY);
    expect(await serious(page)).toEqual([]);
    await withModules(page);
    await twoClasses(page);
    await addTests(page, "across", 0);
    await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
    await choose(page, ["nearest-mean", "learned", "lora"]);
    await startAndFinish(page);
    await expect(page.getByTestId("composition").locator("input[type=range]")).toHaveCount(2);
    // What comes and goes: an offer to undo, a module that is out, an error.
    await page.getByRole("button", { name: "Remove module two" }).click();
    await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
    await page.getByTestId("open-project").setInputFiles({ name: "no.zip", mimeType: "application/zip", buffer: Buffer.from("?") });
    await expect(page.getByTestId("error")).toBeVisible();
    for (const width of [1440, 1024, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await serious(page), `${width} px`).toEqual([]);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(overflow, `${width} px wide`).toBeLessThanOrEqual(0);
    }
    for (const [open, dialog] of [["model", "models"], ["clear", "sure"]]) {
      await page.getByTestId(open).click();
      await expect(page.locator(`#${dialog}`)).toBeVisible();
      expect(await serious(page), dialog).toEqual([]);
      await page.keyboard.press("Escape");
    }
  });
}

test("axe finds nothing serious while methods run, and at the camera", async ({ page }) => {
  await open(page, TINY.replace("steps=6", "steps=2000"));
  await withModules(page);
  await twoClasses(page);
  await choose(page, ["learned", "lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await page.getByTestId("pause").click();
  await expect(page.getByTestId("status")).toHaveText("paused");
  expect(await serious(page)).toEqual([]);
  await page.getByTestId("stop").click();
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await page.getByTestId("class-camera").first().click();
  await expect(page.locator("#camera")).toBeVisible();
  expect(await serious(page)).toEqual([]);
});

test("the keyboard pauses, stops, reads weights, mixes them and opens cells of the matrix", async ({ page }) => {
  await open(page, TINY.replace("steps=6", "steps=2000"));
  await withModules(page);
  await twoClasses(page);
  await addTests(page, "across", 0);
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
  await choose(page, ["learned"]);
  await expect(page.getByTestId("start")).toBeEnabled();
  await page.getByTestId("start").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("pause")).toBeFocused();
  await expect(page.locator("tr[data-method=learned]")).toContainText(/step [1-9]/);
  // The map keeps the keyboard while weights come in.
  const map = page.getByTestId("composition").locator("canvas.heat");
  await map.focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.locator(".spot")).toContainText("layer 1");
  await expect(page.locator(".spot")).toContainText("two");
  const step = async () => Number(/step (\d+)/.exec(await page.locator("tr[data-method=learned]").textContent())[1]);
  const before = await step();
  await expect.poll(step).toBeGreaterThan(before + 10);
  await expect(map).toBeFocused();
  await page.getByTestId("pause").focus();
  await page.keyboard.press("Space");
  await expect(page.getByTestId("status")).toHaveText("paused");
  await page.getByTestId("stop").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("status")).toHaveText("stopped");
  await page.getByTestId("composition").locator("input[type=range]").first().focus();
  await page.keyboard.press("End");
  await expect(page.locator("[data-testid=prediction][data-method=mixed]")).toHaveCount(1);
  await page.getByTestId("confusion").locator("button.cell:not([disabled])").first().focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("#confusion-pictures canvas").first()).toBeVisible();
  await page.getByTestId("clear").focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("#sure")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByTestId("clear")).toBeFocused();
});

test("the keyboard alone loads the example, starts, names a class, removes and undoes", async ({ page }) => {
  await open(page, TINY);
  await page.getByTestId("example").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("start")).toBeEnabled();
  await page.getByTestId("start").focus();
  await page.keyboard.press("Space");
  await expect(page.getByTestId("status")).toHaveText("done", { timeout: 120_000 });
  await page.getByTestId("add-class").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("class-name").last()).toBeFocused();
  await page.keyboard.type("mine");
  await page.keyboard.press("Tab");
  await expect(page.getByTestId("class-name").last()).toHaveValue("mine");
  const thumbs = page.getByTestId("class-card").first().locator("button.thumb");
  const count = await thumbs.count();
  await thumbs.first().focus();
  await page.keyboard.press("Enter");
  await expect(thumbs).toHaveCount(count - 1);
  await expect(thumbs.first()).toBeFocused();
  await page.keyboard.press("Control+z");
  await expect(thumbs).toHaveCount(count);
  const threshold = page.getByTestId("threshold");
  await threshold.focus();
  await page.keyboard.press("End");
  await expect(page.locator("#threshold-value")).toHaveText("100 %");
});

test("what can be reached has a name and shows its focus", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page, 2);
  // The keyboard starts from where a person clicked last: the top.
  await page.locator("h1").click();
  const seen = new Set();
  for (let press = 0; press < 80; press += 1) {
    await page.keyboard.press("Tab");
    const now = await page.evaluate(() => {
      const own = document.activeElement;
      const shown = own.classList.contains("visually-hidden") ? own.previousElementSibling : own;
      const name = own.getAttribute("aria-label") ?? own.labels?.[0]?.textContent ?? own.textContent;
      return { key: own.id || own.dataset.testid || name, name: name?.trim(), outline: own === document.body ? "body" : getComputedStyle(shown).outlineStyle };
    });
    if (now.outline === "body") break;
    expect(now.name, now.key).toBeTruthy();
    expect(now.outline, `focus of ${now.key}`).not.toBe("none");
    seen.add(now.key);
  }
  for (const id of ["model", "save-project", "open-project", "add-class", "start", "try-files", "threshold", "test-class", "clear"]) expect([...seen], id).toContain(id);
});

test("nothing moves when less motion is asked for", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page, TINY.replace("steps=6", "steps=2000"));
  await twoClasses(page);
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText("step");
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
});
