// What the page says of a run, of its results and of what is in the way of both.
import { expect } from "@playwright/test";
import { pictures } from "./files.js";
import { addTests, choose, open, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=0";
const LONG = TINY.replace("steps=4", "steps=2000");
const status = (page) => page.getByTestId("status");
const why = (page) => page.locator("#why");

async function train(page, methods) {
  await twoClasses(page);
  await choose(page, methods);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
}

async function setSteps(page, steps) {
  await page.getByTestId("steps").fill(steps);
  await page.getByTestId("steps").press("Tab");
}

test("where nothing is held out, the test pictures measure, and the page does not deny them", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  const honest = page.getByTestId("honest");
  await expect(honest).toContainText("there is nothing to measure with. Add pictures, or test pictures.");
  await addTests(page, "across", 0);
  await expect(page.getByTestId("accuracy-nearest-mean")).toContainText("%");
  await expect(honest).toHaveText("Small numbers and bars are 95 % intervals. Nothing was held out, with one picture per class or no folds: only the test pictures measure.");
  await page.locator("#test-clear").click();
  await expect(honest).toContainText("Add pictures, or test pictures.");
});

test("a run says what was changed that it does not follow", async ({ page }) => {
  await open(page, LONG);
  await train(page, ["nearest-mean", "lora"]);
  await expect(why(page)).toBeEmpty();
  await page.locator("summary", { hasText: "Settings" }).click();
  await setSteps(page, "50");
  await expect(why(page)).toHaveText("This run goes on with the settings that it began with.");
  await page.getByTestId("method-nearest-mean").uncheck();
  await expect(why(page)).toHaveText("This run goes on with the settings and methods that it began with.");
  await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
  await expect(why(page)).toHaveText("This run goes on with the pictures, settings and methods that it began with.");
  await page.getByTestId("undo").click();
  await setSteps(page, "2000");
  await expect(why(page)).toHaveText("This run goes on with the methods that it began with.");
  await page.getByTestId("method-nearest-mean").check();
  await expect(why(page)).toBeEmpty();
});

test("what is said beside a run gives way to how that is", async ({ page }) => {
  await open(page, LONG);
  await train(page, ["nearest-mean", "lora"]);
  await page.getByTestId("pause").click();
  await expect(status(page)).toHaveText("paused");
  await page.getByTestId("try-files").setInputFiles(pictures(1, 2, 90));
  await expect(status(page)).toHaveText("2 pictures answered");
  await expect(status(page)).toHaveText("paused");
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 95));
  await expect(status(page)).toHaveText("3 pictures answered");
  await page.getByTestId("stop").click();
  await expect(status(page)).toHaveText("stopped");
  // Where no run is on, what was said last stays.
  await page.getByTestId("try-files").setInputFiles(pictures(1, 1, 97));
  await expect(status(page)).toHaveText("4 pictures answered");
  await page.waitForTimeout(5000);
  await expect(status(page)).toHaveText("4 pictures answered");
});

for (const [query, told] of [
  ["img_size=100", "100x100 px"],
  ["img_size=-5", "img_size cannot be -5: it is a multiple of the side of the model's patches, 12 px for the embedded one, up to 2048"],
  ["model=nonsense", "404"],
  ["model=nonsense&example", "404"],
  ["model=deit-tiny-patch16-224", "its modules ship and the model does not"],
]) {
  test(`an address with ${query} leaves the choice of another model, and the page says so`, async ({ page }) => {
    await page.goto(`?device=cpu&${query}`);
    await expect(status(page)).toHaveText("cannot start");
    await expect(page.getByTestId("error")).toContainText(told);
    await expect(why(page)).toHaveText("To start, choose another model at the top of the page.");
    let go;
    const held = new Promise((resolve) => (go = resolve));
    await page.route("**/models/base/model.safetensors", async (route) => {
      await held;
      await route.continue();
    });
    await page.getByTestId("model").click();
    await page.getByTestId("model-shipped").click();
    await expect(why(page)).toHaveText("To start, wait until the model is loaded.");
    go();
    await expect(status(page)).toHaveText("ready", { timeout: 180_000 });
    await expect(why(page)).toHaveText("To start, add at least two classes.");
  });
}
