// Everything that page and worker say to each other, and worker and helpers (crew.js). Files travel as blobs: a handle, not a copy.
//
// request  {id, type, ...}           page -> worker, worker -> helper
// reply    {id, ok: true, result}    and back
//          {id, ok: false, error: {code, message}}
// event    {event, ...}              and back, without an id

export const REQUEST = Object.freeze({
  open: "open", // device, model {name, config, preprocessor, weights: Blob, imgSize?} -> session report
  addModule: "add-module", // name, config, weights: Blob -> warnings
  removeModule: "remove-module", // name
  addPicture: "add-picture", // picture: its number, name, file: Blob -> {width, height, rgba}
  removePicture: "remove-picture", // picture
  addCrop: "add-crop", // picture, crop: what another worker's engine gave of it
  adapt: "adapt", // request {methods, train, test, config}, alone: whether this is a helper
  flow: "flow", // flow: go | pause | stop; answered at once, also while methods run
  predict: "predict", // picture -> [{method, prediction}]
  look: "look", // file: Blob -> {width, height, rgba, answers: [{method, prediction}]}; the picture is not kept
  fold: "fold", // method, index, request -> what the method says of the fold, trained without it; undefined if there is none
  folded: "folded", // method, found: what its folds gave, null if they were stopped, or {failed: error}; helpers ask by an event
  handOver: "hand-over", // method -> what it learned, for another worker with the same model and modules
  reweigh: "reweigh", // method, factors -> coefficients; the result answers as the method "mixed"
  test: "test", // method, test: the test pictures, as in a request -> how its result does on them, in the fields of a report; null if it was stopped
  rename: "rename", // method, classes: other names of its classes
  forget: "forget", // methods: drops their results, and a mix
  saveTask: "save-task", // method, merged, rank | undefined -> {files: {name: Blob, in JSON files text}, error}
  takeBack: "take-back", // task, config: JSON, weights: Blob: an adapter that was saved, or without both the whole model that is open; it answers again
});

export const EVENT = Object.freeze({
  run: "run", // value: {type: progress | stopped | failed | done, ...}
  folds: "folds", // method: a helper has trained it, and waits for its folds
  fatal: "fatal", // error: the worker cannot go on
});

/** Codes of errors of a worker that is gone, not of what it was asked. */
export const LOST = Object.freeze(["restarted", "fatal", "device"]);
