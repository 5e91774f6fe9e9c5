import { defineConfig } from "@playwright/test";
import setup from "./setup.js";

const PORT = 8377;

// The server lists its files when it starts, so they are made before: once, not in every worker that reads this.
if (process.env.TEST_WORKER_INDEX === undefined) setup();

// A browser computes on all cores; two at once would only wait for each other.
export default defineConfig({
  testDir: ".",
  workers: 1,
  timeout: 240_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  outputDir: "../../test-results",
  forbidOnly: true,
  use: {
    baseURL: `http://127.0.0.1:${PORT}/sub/`,
    viewport: { width: 1440, height: 1000 },
    serviceWorkers: "block",
    acceptDownloads: true,
    launchOptions: {
      executablePath: process.env.CHROMIUM,
      args: ["--headless=new", "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    },
  },
  projects: [
    { name: "cpu", testIgnore: /webgpu/ },
    {
      name: "webgpu",
      testMatch: /webgpu/,
      use: {
        launchOptions: {
          executablePath: process.env.CHROMIUM,
          args: ["--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        },
      },
    },
  ],
  // Under a sub-path, as on a static host of projects.
  webServer: { command: `node ../../web/site/serve.js ../../target/site ${PORT} /sub/`, url: `http://127.0.0.1:${PORT}/sub/`, reuseExistingServer: false },
});
