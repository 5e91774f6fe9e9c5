import { defineConfig } from "@playwright/test";

const PORT = 8377;

// A browser computes on all cores; two at once would only wait for each other.
export default defineConfig({
  testDir: ".",
  globalSetup: "./setup.js",
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
