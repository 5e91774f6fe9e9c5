// Pictures from a camera, in a dialog; the camera is off whenever the dialog is closed.
import { $, fail } from "./dom.js";

/** What is asked of a camera; one that cannot is taken as well. The camera that looks away shows what is to be told apart. */
const WANTED = { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } };
/** Whoever holds the button so long takes one picture after another, in milliseconds. */
const HOLD = 400;
const EVERY = 250;

let stream = null;
let asking = false;
let taken = 0;
let count = 0;
let holding = 0;
let held = false;
let onPicture = () => {};
let view = null;

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Opens the camera: `take` gets every picture that is taken, and `live` (begin, end) looks on meanwhile. */
export async function openCamera(heading, take, live = null) {
  // A second click while the browser asks for leave would open a second stream, which nobody could close.
  if (asking || stream) return;
  asking = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: WANTED });
  } catch (error) {
    fail({ message: error.name === "NotAllowedError" ? "The camera was not allowed; allow it in the address bar to use it." : `No camera can be used (${error.name}).` });
    return;
  } finally {
    asking = false;
  }
  taken = 0;
  onPicture = take;
  view = live;
  $("camera-class").textContent = heading;
  $("camera-count").textContent = "";
  $("camera-live").hidden = !view;
  $("camera-video").srcObject = stream;
  $("camera").showModal();
  $("camera-take").focus();
  view?.begin(() => frame("camera.jpg"));
}

/** What the camera sees now, as a file; nothing before its first picture. */
async function frame(name) {
  const video = $("camera-video");
  if (!video.videoWidth) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return blob && new File([blob], name, { type: "image/jpeg" });
}

async function takeOne() {
  const file = await frame(`camera-${count + 1}.jpg`);
  if (!file || !stream) return;
  count += 1;
  taken += 1;
  $("camera-count").textContent = `${taken} taken`;
  onPicture(file);
}

function hold() {
  held = true;
  takeOne();
  holding = setTimeout(hold, EVERY);
}

const letGo = () => clearTimeout(holding);

$("camera-take").addEventListener("pointerdown", () => {
  letGo();
  held = false;
  holding = setTimeout(hold, HOLD);
});
for (const end of ["pointerup", "pointercancel", "pointerleave"]) $("camera-take").addEventListener(end, letGo);
// A long press is no question for a menu.
$("camera-take").addEventListener("contextmenu", (event) => event.preventDefault());
$("camera-take").addEventListener("click", (event) => {
  // The click that ends a hold; keys click without a pointer.
  if (held && event.detail) return;
  takeOne();
});
$("camera").addEventListener("close", () => {
  letGo();
  view?.end();
  view = null;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
});
