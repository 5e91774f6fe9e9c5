// Pictures from a camera, in a dialog; the camera is off whenever the dialog is closed.
import { $, fail } from "./dom.js";

/** What is asked of a camera; one that cannot is taken as well. The camera that looks away shows what is to be told apart. */
const WANTED = { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } };

let stream = null;
let asking = false;
let take = () => {};
let count = 0;

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export async function openCamera(name, onPicture) {
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
  let taken = 0;
  take = (file) => {
    taken += 1;
    $("camera-count").textContent = `${taken} taken`;
    onPicture(file);
  };
  $("camera-class").textContent = name;
  $("camera-count").textContent = "";
  $("camera-video").srcObject = stream;
  $("camera").showModal();
}

$("camera-take").addEventListener("click", () => {
  const video = $("camera-video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  count += 1;
  const name = `camera-${count}.jpg`;
  canvas.toBlob((blob) => blob && take(new File([blob], name, { type: "image/jpeg" })), "image/jpeg", 0.92);
});
$("camera").addEventListener("close", () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
});
