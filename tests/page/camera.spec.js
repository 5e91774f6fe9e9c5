// The camera: pictures from it, one or many, and answers about what it sees while it sees it.
import AxeBuilder from "@axe-core/playwright";
import { expect } from "@playwright/test";
import { png } from "./files.js";
import { choose, open, slowPictures, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=2000&folds=0";
const live = (page) => page.getByTestId("camera-live");
const said = (page, method) => live(page).locator(`[data-method=${method}]`);
const isOff = (page) => page.locator("#camera-video").evaluate((video) => video.srcObject.getTracks().every((track) => track.readyState === "ended"));

/** A camera that sees what the test shows it. */
async function aimed(page) {
  await page.addInitScript(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 320 });
    let seen = null;
    setInterval(() => seen && canvas.getContext("2d").drawImage(seen, 0, 0, 320, 320), 50);
    window.aim = async (bytes) => (seen = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: "image/png" })));
    navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
  });
}
const aim = (page, kind) => page.evaluate((bytes) => window.aim(bytes), [...png(kind, 90)]);

test("answers follow what the camera sees, and it can be taken", async ({ page }) => {
  await aimed(page);
  await open(page, TINY);
  await aim(page, 0);
  await page.getByTestId("try-camera").click();
  await expect(page.locator("#camera-silent")).toContainText("once every class has pictures");
  await page.keyboard.press("Escape");
  await twoClasses(page);
  await expect(page.getByTestId("status")).toContainText("first answers are in");
  await page.getByTestId("try-camera").click();
  await expect(said(page, "nearest-mean")).toHaveAttribute("data-label", "across");
  await expect(said(page, "linear-probe")).toContainText("%");
  await expect(page.locator("#camera-seen canvas")).toBeVisible();
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.filter(({ impact }) => ["serious", "critical"].includes(impact))).toEqual([]);
  await aim(page, 1);
  await expect(said(page, "nearest-mean")).toHaveAttribute("data-label", "along");
  await page.keyboard.press("Enter");
  await expect(page.locator("#predictions [data-method=nearest-mean]")).toHaveAttribute("data-label", "along");
  await page.setViewportSize({ width: 390, height: 844 });
  const box = await page.locator("#camera").boundingBox();
  expect(box.x >= 0 && box.x + box.width <= 390).toBe(true);
  await page.keyboard.press("Escape");
  await expect.poll(() => isOff(page)).toBe(true);
});

test("a picture shows what was seen when it was taken", async ({ page }) => {
  await aimed(page);
  await open(page, TINY);
  await page.evaluate(slowPictures, 1500);
  await aim(page, 0);
  await page.getByTestId("add-class").click();
  await page.getByTestId("class-camera").click();
  await expect.poll(() => page.locator("#camera-video").evaluate((video) => video.videoWidth)).toBeGreaterThan(0);
  for (let count = 0; count < 2; count += 1) await page.getByTestId("camera-take").click();
  await aim(page, 1);
  await page.waitForTimeout(1000); // The video shows the other picture before the second one is read.
  await page.keyboard.press("Escape");
  const taken = page.getByTestId("class-card").locator(".thumb canvas");
  await expect(taken).toHaveCount(2);
  // The first class is red, the second one blue.
  for (const canvas of await taken.all()) {
    const [red, blue] = await canvas.evaluate((own) => {
      const { data } = own.getContext("2d").getImageData(0, 0, own.width, own.height);
      return [0, 2].map((channel) => data.reduce((sum, value, index) => sum + (index % 4 === channel ? value : 0), 0));
    });
    expect(red).toBeGreaterThan(blue);
  }
});

test("the camera answers while methods train, and after the worker was lost", async ({ page }) => {
  await aimed(page);
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText(/step [1-9]/);
  await aim(page, 0);
  await page.getByTestId("try-camera").click();
  await expect(said(page, "nearest-mean")).toHaveAttribute("data-label", "across");
  const step = async () => Number(/step (\d+)/.exec(await page.locator("tr[data-method=lora]").textContent())[1]);
  const before = await step();
  await aim(page, 1);
  await expect(said(page, "nearest-mean")).toHaveAttribute("data-label", "along");
  await expect.poll(step).toBeGreaterThan(before);
  await page.workers()[0].evaluate(() => postMessage({ event: "fatal", error: { code: "fatal", message: "it stopped" } }));
  await expect(page.getByTestId("error")).toContainText("your pictures are kept");
  await aim(page, 0);
  await expect(said(page, "nearest-mean")).toHaveAttribute("data-label", "across");
});

test("what a camera cannot add is told in its dialog, and one that is unplugged closes it", async ({ page }) => {
  await aimed(page);
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    const faulty = source.replace("engine.addPicture(picture, name,", "(() => { throw { code: 'bad-image', message: `${name}: no picture` }; })() ?? engine.addPicture(picture, name,");
    expect(faulty).not.toBe(source);
    await route.fulfill({ response, body: faulty });
  });
  await open(page, TINY);
  await aim(page, 0);
  await page.getByTestId("add-class").click();
  await page.getByTestId("class-camera").click();
  await expect.poll(() => page.locator("#camera-video").evaluate((video) => video.readyState)).toBeGreaterThan(1);
  await page.getByTestId("camera-take").click();
  await expect(page.locator("#camera-note")).toHaveText(/camera-1.jpg: no picture/);
  await expect(page.locator("#camera-count")).toBeEmpty();
  await page.locator("#camera-video").evaluate((video) => video.srcObject.getTracks()[0].dispatchEvent(new Event("ended")));
  await expect(page.locator("#camera")).toBeHidden();
  await expect(page.getByTestId("error")).toContainText("The camera stopped");
});

test("whoever holds the button takes one picture after another", async ({ page }) => {
  await aimed(page);
  await open(page, TINY);
  await aim(page, 0);
  await page.getByTestId("add-class").click();
  await page.getByTestId("class-camera").click();
  await expect.poll(() => page.locator("#camera-video").evaluate((video) => video.videoWidth)).toBeGreaterThan(0);
  await expect(live(page)).toBeHidden();
  await page.getByTestId("camera-take").click();
  await expect(page.locator("#camera-count")).toHaveText("1 taken");
  const button = await page.getByTestId("camera-take").boundingBox();
  await page.mouse.move(button.x + 5, button.y + 5);
  await page.mouse.down();
  await expect(page.locator("#camera-count")).toHaveText(/^([5-9]|\d\d+) taken/);
  const taken = async () => Number.parseInt(await page.locator("#camera-count").textContent(), 10);
  // Leaving the button ends the hold without a click.
  await page.mouse.move(button.x - 20, button.y - 20);
  await page.waitForTimeout(1000);
  const after = await taken();
  // The click that ends a hold takes none, and a key takes one more.
  await page.getByTestId("camera-take").dispatchEvent("click", { detail: 1 });
  await page.waitForTimeout(1000);
  expect(await taken()).toBe(after);
  await page.mouse.up();
  await page.keyboard.press("Enter");
  await expect(page.locator("#camera-count")).toHaveText(`${after + 1} taken`);
  await page.keyboard.press("Escape");
  await expect(page.locator(".thumb canvas")).toHaveCount(after + 1);
});
