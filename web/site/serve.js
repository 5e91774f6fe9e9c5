// Serves a built site on 127.0.0.1, compressed, with a strict content security policy.
//
//   node web/site/serve.js FOLDER [PORT] [BASE]      BASE: a sub-path such as /loraloom/
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import sirv from "sirv";

const [folder, port = "8000", base = "/"] = process.argv.slice(2);
// One policy: what the page says of itself is what the header says.
const policy = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(readFileSync(join(folder, "index.html"), "utf8"))[1];

const files = sirv(folder, {
  brotli: true,
  gzip: true,
  etag: true,
  setHeaders(response) {
    response.setHeader("Content-Security-Policy", `${policy}; frame-ancestors 'none'`);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Referrer-Policy", "no-referrer");
    response.setHeader("Cache-Control", "no-cache");
  },
});

const server = createServer((request, response) => {
  const missing = () => {
    response.statusCode = 404;
    response.end("not found");
  };
  if (!request.url.startsWith(base)) return missing();
  request.url = `/${request.url.slice(base.length)}`;
  return files(request, response, missing);
});
server.on("error", (error) => {
  console.error(error.code === "EADDRINUSE" ? `error: port ${port} is taken; try ./build.sh serve ${Number(port) + 1}` : `error: ${error.message}`);
  process.exit(2);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`loraloom is at http://127.0.0.1:${server.address().port}${base} (Ctrl-C ends it)`));
