// Bad input, failures, and a network that is gone.
import { expect, test } from "@playwright/test";
import { pictures, tinyModel } from "./files.js";
import { addClass, choose, moduleZip, open, startAndFinish, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";

test("bad files are named and the good ones go on", async ({ page }) => {
  await open(page, TINY);
  const bad = { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("not a picture") };
  await page.getByTestId("add-class").click();
  await page.getByTestId("class-files").setInputFiles([bad, ...pictures(0, 2)]);
  await expect(page.getByTestId("error")).toContainText("broken.png");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(2);
  await page.locator("#dismiss").click();

  await page.locator("details", { hasText: "Library of modules" }).locator("summary").click();
  const other = moduleZip("foreign", { hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2 }, 3);
  await page.getByTestId("add-module").setInputFiles(other);
  await expect(page.getByTestId("error")).toContainText("foreign");
  await page.getByTestId("add-module").setInputFiles({ name: "nothing.zip", mimeType: "application/zip", buffer: Buffer.from("PK not really") });
  await expect(page.getByTestId("error")).toContainText("nothing.zip");

  await page.getByTestId("open-project").setInputFiles({ name: "not-a-project.zip", mimeType: "application/zip", buffer: Buffer.from("?") });
  await expect(page.getByTestId("error")).toContainText("not-a-project.zip");

  // A model that is refused leaves the one in use as it is.
  await page.getByTestId("model").click();
  await page.getByTestId("model-files").setInputFiles([
    { name: "config.json", mimeType: "application/json", buffer: Buffer.from('{"model_type":"bert"}') },
    { name: "model.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from([1, 2, 3]) },
  ]);
  await expect(page.getByTestId("error")).toContainText("bert");
  await expect(page.getByTestId("model")).toContainText("tiny");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(2);
});

test("a dropped model takes the place of the first one and keeps the pictures", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  const files = Object.entries(tinyModel(5)).map(([name, bytes]) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(bytes) }));
  await page.getByTestId("model").click();
  await page.getByTestId("model-files").setInputFiles(files);
  await expect(page.getByTestId("model")).toContainText("dropped model");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await expect(page.getByTestId("accuracy-nearest-mean")).toBeVisible();
});

test("undo brings back what was removed, and results say when they are out of date", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("stale")).toBeHidden();
  await page.getByRole("button", { name: "Remove class along" }).click();
  await expect(page.getByTestId("class-card")).toHaveCount(1);
  await page.getByTestId("undo").click();
  await expect(page.getByTestId("class-card")).toHaveCount(2);
  await page.getByRole("button", { name: "Remove kind0-1.png" }).click();
  await expect(page.getByTestId("class-card").first().locator(".thumb canvas")).toHaveCount(2);
  await expect(page.getByTestId("stale")).toBeVisible();
});

test("a panic in a run restarts the worker and loses nothing", async ({ page }) => {
  let armed = true;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const source = await response.text();
    // The first run of the first worker panics for real, inside the wasm module.
    const faulty = source.replace("engine.adapt(request,", "engine.panic() ?? engine.adapt(request,");
    expect(faulty).not.toBe(source);
    await route.fulfill({ response, body: armed ? faulty : source });
    armed = false;
  });
  await page.goto(`?${TINY}`);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await twoClasses(page);
  await expect(page.getByTestId("error")).toContainText("your pictures are kept");
  await expect(page.getByTestId("accuracy-linear-probe")).toContainText("–");
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6);
  await choose(page, ["nearest-mean", "lora"]);
  await startAndFinish(page);
  await expect(page.getByTestId("held-out-lora")).toContainText("%");
});

test("many pictures", async ({ page }) => {
  await open(page, TINY);
  await addClass(page, "first", pictures(0, 260));
  await addClass(page, "second", pictures(1, 240));
  await expect(page.getByTestId("held-out-linear-probe")).toContainText("%", { timeout: 120_000 });
});

test("a model of the Hub downloads in pieces, goes on after a break, and is checked", async ({ page }) => {
  const files = tinyModel(9);
  const { createHash } = await import("node:crypto");
  const weights = Buffer.from(files["model.safetensors"]);
  const tree = Object.entries(files).map(([path, bytes]) => ({ path, size: Buffer.from(bytes).length, oid: "x" }));
  tree.find((file) => file.path === "model.safetensors").lfs = { oid: createHash("sha256").update(weights).digest("hex") };
  let broken = true;
  const asked = [];
  await page.route("https://huggingface.co/**", async (route) => {
    const url = route.request().url();
    const headers = { "access-control-allow-origin": "*", "access-control-expose-headers": "*", "access-control-allow-headers": "*" };
    if (url.endsWith("/tree/main")) return route.fulfill({ json: tree, headers });
    const name = url.split("/").at(-1);
    asked.push(name);
    if (name === "model.safetensors" && broken) return route.abort();
    const bytes = Buffer.from(files[name]);
    const [, start, end] = /bytes=(\d+)-(\d+)/.exec(route.request().headers().range);
    return route.fulfill({ status: 206, body: bytes.subarray(Number(start), Number(end) + 1), headers });
  });
  await open(page, TINY);
  const load = async () => {
    await page.getByTestId("model").click();
    await page.getByTestId("hub-id").fill("someone/tiny-vit");
    await page.getByTestId("hub-load").click();
  };
  await load();
  await expect(page.getByTestId("error")).toContainText("cannot be reached");
  broken = false;
  await load();
  await expect(page.getByTestId("model")).toContainText("someone/tiny-vit");
  expect(asked.filter((name) => name === "config.json")).toHaveLength(1);
  await page.unroute("https://huggingface.co/**");
});

test.describe("offline", () => {
  test.use({ serviceWorkers: "allow" });

  test("once visited, the page works without a network", async ({ page, context }) => {
    await open(page, "device=cpu&steps=4");
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await expect.poll(() => page.evaluate(async () => (await caches.keys()).length)).toBeGreaterThan(0);
    await context.setOffline(true);
    await page.reload();
    await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 120_000 });
    await twoClasses(page, 2);
    await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
  });
});
