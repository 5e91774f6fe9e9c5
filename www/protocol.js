// Everything that page and worker say to each other. Files travel as blobs: a handle, not a copy.
//
// request  {id, type, ...}           page -> worker
// reply    {id, ok: true, result}    worker -> page
//          {id, ok: false, error: {code, message}}
// event    {event, ...}              worker -> page, without an id

export const REQUEST = Object.freeze({
  open: "open", // device, model {name, config, preprocessor, weights: Blob, imgSize?} -> session report
  addModule: "add-module", // name, config, weights: Blob -> warnings
  removeModule: "remove-module", // name
  addPicture: "add-picture", // picture: its number, name, file: Blob -> {width, height, rgba}
  removePicture: "remove-picture", // picture
  adapt: "adapt", // request {methods, train, test, config}
  flow: "flow", // flow: go | pause | stop; answered at once, also while methods run
  predict: "predict", // picture -> [{method, prediction}]
  reweigh: "reweigh", // method, factors -> coefficients; the result answers as the method "mixed"
  forget: "forget", // methods: drops their results, and a mix
  saveAdapter: "save-adapter", // method, rank | undefined -> {config, weights: Blob, error}
});

export const EVENT = Object.freeze({
  run: "run", // value: {type: progress | stopped | failed | done, ...}
  fatal: "fatal", // error: the worker cannot go on
});
