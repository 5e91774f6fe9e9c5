// Pictures from a camera, in a dialog; the camera is off whenever the dialog is closed.
import { $, drawing, element, fail, listed } from "./dom.js";

/** What is asked of a camera; one that cannot is taken as well. The camera that looks away shows what is to be told apart. */
const WANTED = { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } };
/** Whoever holds the button so long takes one picture after another, in milliseconds. */
const HOLD = 400;
const EVERY = 250;
/** So many pictures wait to be read. */
const WAITING = 3;

/** The camera while it is on: {stream, take, live, taken}. */
let open = null;
let asking = false;
let jobs = Promise.resolve();
let waiting = 0;
let count = 0;
let holding = 0;
let held = false;
const canvas = element("canvas");

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** The button of a class that opens the camera for it, where there may be one. */
export function cameraButton(own, take) {
  if (!hasCamera()) return null;
  const icon = drawing("svg", { viewBox: "0 0 20 20", fill: "none", stroke: "currentColor", "stroke-width": "1.6", "aria-hidden": "true" },
    drawing("path", { d: "M3 6.500h3l1.300-2h5.400l1.300 2h3v9.500H3z", "stroke-linejoin": "round" }), drawing("circle", { cx: "10", cy: "11", r: "2.700" }));
  return element("button", { type: "button", title: "Use the camera", "data-testid": "class-camera",
    onclick: () => openCamera(own.name, take) }, icon);
}

/** Opens the camera: `take` gets every picture that is taken and gives reasons against it, and `live` (begin, end) looks on
 *  meanwhile. */
export async function openCamera(heading, take, live = null) {
  // A second click while the browser asks for leave would open a second stream, which nobody could close.
  if (asking || open) return;
  asking = true;
  try {
    open = { stream: await navigator.mediaDevices.getUserMedia({ video: WANTED }), take, live, taken: 0 };
  } catch (error) {
    fail({ message: error.name === "NotAllowedError" ? "The camera was not allowed; allow it in the address bar to use it." : `No camera can be used (${error.name}).` });
    return;
  } finally {
    asking = false;
  }
  for (const track of open.stream.getTracks()) track.addEventListener("ended", unplugged);
  $("camera-class").textContent = heading;
  $("camera-count").textContent = "";
  $("camera-note").textContent = "";
  $("camera-live").hidden = !live;
  const video = $("camera-video");
  video.srcObject = open.stream;
  $("camera").showModal();
  // Some browsers play nothing by themselves where power is short.
  video.play().catch(() => {});
  $("camera-take").focus();
  live?.begin(() => frame("camera.jpg"));
}

function unplugged() {
  $("camera").close();
  fail({ message: "The camera stopped: it was unplugged, or another program took it." });
}

/** What the camera sees now, as a file; nothing before its first picture. */
async function frame(name) {
  const video = $("camera-video");
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || !video.videoWidth) return null;
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return blob && new File([blob], name, { type: "image/jpeg" });
}

/** Pictures are read one after another; whoever holds a key asks for more than that, and gets no more than wait at once. */
function take(most = WAITING) {
  if (!open || waiting >= most) return;
  waiting += 1;
  // What was seen now goes where it was taken for, also when the dialog is closed meanwhile.
  const own = open;
  const shot = frame(`camera-${++count}.jpg`);
  shot.catch(() => {}); // It is told when its turn comes.
  jobs = jobs.then(async () => takeFor(own, await shot)).catch(fail).finally(() => (waiting -= 1));
}

async function takeFor(own, file) {
  if (!file) return;
  const bad = await own.take(file);
  if (!bad.length) own.taken += 1;
  if (own !== open) return;
  $("camera-note").textContent = listed(bad);
  $("camera-count").textContent = own.taken ? `${own.taken} taken` : "";
}

function hold() {
  held = true;
  take(1);
  holding = setTimeout(hold, EVERY);
}

const letGo = () => clearTimeout(holding);

$("camera-take").addEventListener("pointerdown", (event) => {
  letGo();
  held = false;
  if (event.button === 0) holding = setTimeout(hold, HOLD);
});
for (const end of ["pointerup", "pointercancel", "pointerleave"]) $("camera-take").addEventListener(end, letGo);
// A long press is no question for a menu.
$("camera-take").addEventListener("contextmenu", (event) => event.preventDefault());
$("camera-take").addEventListener("click", (event) => {
  // The click that ends a hold; keys click without a pointer.
  if (!held || !event.detail) take();
});
$("camera").addEventListener("close", () => {
  letGo();
  open?.live?.end();
  open?.stream.getTracks().forEach((track) => track.stop());
  open = null;
});
