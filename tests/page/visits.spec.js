// What one visit leaves for the next, where the browser or an older version of the page is in the way.
import { expect } from "@playwright/test";
import { pictures } from "./files.js";
import { addClass, choose, open, startAndFinish, test, twoClasses } from "./support.js";

const TINY = "device=cpu&model=tiny&steps=4&folds=2";
const thumbs = (page) => page.getByTestId("class-card").locator(".thumb canvas");

/** What is kept. */
const keptState = (page) => page.evaluate(async () => {
  const answer = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
  const db = await answer(indexedDB.open("loraloom"));
  const state = await answer(db.transaction("kept").objectStore("kept").get("state"));
  db.close();
  return state;
});

/** Until so many pictures and results are kept. */
const untilKept = (page, count, results = 0) => expect.poll(async () => {
  const state = await keptState(page);
  const sizes = (state?.classes ?? []).map((own) => own.pictures.length);
  return sizes.reduce((one, other) => one + other, 0) === count && state.results.length >= results;
}).toBe(true);

/** Runs in the page before its own scripts: what `sessionStorage.broken` names fails, a state always, others once; reports lack
 *  what those of an older version may lack. */
function breakable() {
  const { broken } = sessionStorage;
  let left = broken === "state" ? Infinity : 1;
  const failing = (owner, name, of) => {
    const whole = owner.prototype[name];
    owner.prototype[name] = function (key) {
      if (of(key) && left-- > 0) throw new DOMException("it is broken", "UnknownError");
      return whole.apply(this, arguments);
    };
  };
  failing(IDBObjectStore, "get", (key) => broken === "state" ? key === "state" : broken === "file" && key.startsWith("file/"));
  failing(IDBFactory, "open", () => broken === "open");
  const result = Object.getOwnPropertyDescriptor(IDBRequest.prototype, "result").get;
  Object.defineProperty(IDBRequest.prototype, "result", { get() {
    const value = result.call(this);
    if (broken === "report") for (const { report } of value?.results ?? []) delete report.trainable_parameters;
    return value;
  } });
}

/** A page with six kept pictures, in the visit after something broke. */
async function comeBackTo(page, broken, results = 0) {
  await page.addInitScript(breakable);
  await open(page, TINY);
  await twoClasses(page);
  await untilKept(page, 6, results);
  await page.evaluate((what) => (sessionStorage.broken = what), broken);
  await page.reload();
}

/** The next visit, with nothing broken. */
async function mend(page) {
  await page.evaluate(() => sessionStorage.removeItem("broken"));
  await page.reload();
}

test("what cannot be read is not taken for a first visit, and stays", async ({ page }) => {
  await comeBackTo(page, "state");
  await expect(page.getByTestId("error")).toContainText("cannot read what was kept of your last visit (UnknownError)");
  await expect(page.locator("#kept")).toContainText("Nothing is kept in this visit");
  await expect(page.getByTestId("status")).toHaveText("ready");
  await addClass(page, "new", pictures(2, 2));
  await mend(page);
  await expect(thumbs(page)).toHaveCount(6, { timeout: 120_000 });
  await expect(page.locator("#kept")).toContainText("kept in this browser");
  await expect(page.getByTestId("error")).toBeHidden();
});

test("a store that opens too late is not written over", async ({ page }) => {
  await comeBackTo(page, "open");
  await expect(page.getByTestId("status")).toHaveText("ready");
  await expect(thumbs(page)).toHaveCount(0);
  await addClass(page, "new", pictures(2, 2));
  await expect(page.getByTestId("error")).toContainText("cannot keep your pictures");
  await mend(page);
  await expect(thumbs(page)).toHaveCount(6, { timeout: 120_000 });
});

test("one file that cannot be read is left out and told", async ({ page }) => {
  await comeBackTo(page, "file");
  await expect(page.getByTestId("error")).toContainText("1 file of your last visit is left out");
  await expect(thumbs(page)).toHaveCount(5, { timeout: 120_000 });
  await addClass(page, "new", pictures(2, 2));
  await mend(page);
  await expect(thumbs(page)).toHaveCount(7, { timeout: 120_000 });
});

test("results that an older version kept stay away, the pictures come back and are kept", async ({ page }) => {
  await comeBackTo(page, "report", 1);
  await expect(thumbs(page)).toHaveCount(6, { timeout: 120_000 });
  await addClass(page, "third", pictures(2, 2));
  await expect(page.getByTestId("error")).toBeHidden();
  await mend(page);
  await expect(thumbs(page)).toHaveCount(8, { timeout: 120_000 });
});

test("a result that comes back shows, also where no method answers by itself", async ({ page }) => {
  await open(page, TINY);
  await twoClasses(page);
  await choose(page, ["lora"]);
  await startAndFinish(page);
  // First answers may have come in before they were unticked.
  await untilKept(page, 6, 1);
  await page.reload();
  await expect(page.locator("tr[data-method=lora]")).toHaveCount(1);
  await expect(page.getByTestId("held-out-lora")).toContainText("%");
});
