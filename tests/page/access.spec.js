// Anyone can use it: axe at three widths and both themes, and the keyboard alone.
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { addTests, choose, open, startAndFinish, twoClasses } from "./support.js";
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
    await twoClasses(page);
    await addTests(page, "across", 0);
    await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 90));
    await choose(page, ["nearest-mean", "lora"]);
    await startAndFinish(page);
    for (const width of [1440, 1024, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await serious(page), `${width} px`).toEqual([]);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(overflow, `${width} px wide`).toBeLessThanOrEqual(0);
    }
    await page.getByTestId("model").click();
    expect(await serious(page)).toEqual([]);
  });
}

test("the keyboard alone adds a class, starts and stops", async ({ page }) => {
  await open(page, TINY);
  await page.getByTestId("example").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("start")).toBeEnabled({ timeout: 60_000 });
  await page.getByTestId("start").focus();
  await page.keyboard.press("Space");
  await expect(page.getByTestId("status")).toHaveText(/done/, { timeout: 120_000 });
  await page.getByTestId("add-class").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("class-name").last()).toBeFocused();
});
