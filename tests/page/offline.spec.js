// The service worker: a visit without a network, and a new version of the page.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@playwright/test";
import { choose, open, scratch, test as base, twoClasses } from "./support.js";

const root = (path) => new URL(`../../${path}`, import.meta.url).pathname;
const PORT = 8378;

/** Serves a folder; the server reads the list of files once. */
async function serve(folder) {
  const server = spawn("node", [root("web/site/serve.js"), folder, String(PORT)], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    server.stdout.once("data", resolve);
    server.once("exit", () => reject(new Error(`nothing serves port ${PORT}`)));
  });
  return () => new Promise((resolve) => {
    server.removeAllListeners("exit");
    server.once("exit", resolve);
    server.kill();
  });
}

/** Playwright's test, with a copy of the site that is served: `renew` makes another version of it. */
const test = base.extend({
  renew: async ({}, use) => {
    const site = join(scratch(), "site");
    cpSync(root("target/site"), site, { recursive: true });
    let stop = await serve(site);
    await use(async () => {
      await stop();
      const index = join(site, "index.html");
      writeFileSync(index, readFileSync(index, "utf8").replace("<title>", "<title>Second: "));
      execFileSync("node", [root("web/site/finish.js"), site, "--fast"]);
      stop = await serve(site);
    });
    await stop();
  },
});

test.use({ serviceWorkers: "allow" });

/** Until the page's files are kept, and the page has its files from there: on the first visit, too, or a new version on the server would reach into it. */
async function kept(page) {
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await expect.poll(() => page.evaluate(async () => (await caches.keys()).length)).toBeGreaterThan(0);
  await expect.poll(() => page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
}

test("once visited, the page works without a network", async ({ page, context }) => {
  await open(page, "device=cpu&steps=4");
  await kept(page);
  await context.setOffline(true);
  await page.reload();
  await expect(page.getByTestId("status")).toHaveText("ready", { timeout: 120_000 });
  await twoClasses(page, 2);
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
});

test("a new version waits for a click, and pictures outlive it", async ({ page, renew }) => {
  const visit = `http://127.0.0.1:${PORT}/?device=cpu&steps=2000&model=tiny`;
  await page.goto(visit);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await kept(page);
  await twoClasses(page);
  await expect(page.getByTestId("held-out-nearest-mean")).toContainText("%");
  await page.waitForTimeout(1_500); // Longer than the page waits before it keeps a change.
  await expect(page.locator("#update")).toBeHidden();

  await renew();

  await page.reload();
  await expect(page.locator("#update")).toBeVisible();
  await expect(page).not.toHaveTitle(/Second/);
  // What runs is not lost: the new version waits for it.
  await choose(page, ["lora"]);
  await page.getByTestId("start").click();
  await expect(page.locator("tr[data-method=lora]")).toContainText("step");
  await page.locator("#update").click();
  await expect(page.locator("#update")).toHaveText("Updates when done");
  await page.waitForTimeout(1_000);
  await expect(page).not.toHaveTitle(/Second/);
  await page.getByTestId("stop").click();
  await expect(page).toHaveTitle(/Second/);
  await expect(page.locator("#update")).toBeHidden();
  await expect(page.getByTestId("class-card").locator(".thumb canvas")).toHaveCount(6, { timeout: 120_000 });
});

test("a new version that another tab takes costs this one nothing", async ({ page, context, renew }) => {
  const thumbs = (tab) => tab.getByTestId("class-card").locator(".thumb canvas");
  const begin = async (tab) => {
    await tab.goto(`http://127.0.0.1:${PORT}/?device=cpu&steps=2000&folds=0&model=tiny`);
    await expect(tab.getByTestId("status")).toHaveText("ready");
  };
  await begin(page);
  await kept(page);
  const [other, empty] = [await context.newPage(), await context.newPage()];
  for (const tab of [other, empty]) await begin(tab);
  // Only the first tab keeps.
  await expect(other.locator("#kept")).toContainText("Another tab");
  await other.locator("#dismiss").click();
  await twoClasses(other);

  await renew();
  await page.evaluate(() => navigator.serviceWorker.getRegistration().then((registration) => registration.update()).then(() => undefined));
  await choose(other, ["lora"]);
  await other.getByTestId("start").click();
  await expect(other.locator("tr[data-method=lora]")).toContainText("step");
  await expect(page.locator("#update")).toBeVisible();
  await page.locator("#update").click();
  await expect(page).toHaveTitle(/Second/);
  await expect(empty).toHaveTitle(/Second/);
  // What runs goes on, and what it learned stays.
  await expect(other.getByTestId("error")).toContainText("Another tab has taken a new version");
  await expect(other.locator("#update")).toHaveText("Update");
  await other.getByTestId("stop").click();
  await expect(other.getByTestId("status")).toHaveText("stopped");
  await expect(thumbs(other)).toHaveCount(6);
  await expect(other).not.toHaveTitle(/Second/);
  // Who knows what is lost takes the new version.
  await other.locator("#update").click();
  await expect(other).toHaveTitle(/Second/);
});

test("a new version does not take what is not kept", async ({ page, context, renew }) => {
  await page.goto(`http://127.0.0.1:${PORT}/?device=cpu&steps=4&model=tiny`);
  await expect(page.getByTestId("status")).toHaveText("ready");
  await kept(page);
  await renew();
  await page.evaluate(() => navigator.serviceWorker.getRegistration().then((registration) => registration.update()).then(() => undefined));
  await expect(page.locator("#update")).toBeVisible();
  const client = await context.newCDPSession(page);
  await client.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin, quotaSize: 1 });
  await twoClasses(page);
  await page.locator("#update").click();
  await expect(page.getByTestId("error")).toContainText("save a project first, then press Update again");
  await expect(page).not.toHaveTitle(/Second/);
  await page.locator("#update").click();
  await expect(page).toHaveTitle(/Second/);
});

test("the page's policy refuses what comes from elsewhere", async ({ page }) => {
  await open(page, "device=cpu&model=tiny");
  const elsewhere = await page.evaluate(async () => {
    const refused = [];
    document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => refused.push(effectiveDirective));
    const fetched = await fetch("http://127.0.0.2:9/x").then(() => true, () => false);
    const script = Object.assign(document.createElement("script"), { src: "http://127.0.0.2:9/x.js" });
    const inline = Object.assign(document.createElement("script"), { textContent: "globalThis.ranInline = true" });
    const image = Object.assign(new Image(), { src: "http://127.0.0.2:9/x.png" });
    document.body.append(script, inline, image);
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { fetched, refused: [...new Set(refused)].sort(), ran: globalThis.ranInline === true };
  });
  expect(elsewhere).toEqual({ fetched: false, refused: ["connect-src", "img-src", "script-src-elem"], ran: false });
});
