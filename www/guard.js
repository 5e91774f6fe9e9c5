// Tells whoever would wait for ever that the page cannot begin: the browser knows no modules, a file did not come, or a
// module does not run here. Written for old browsers, too; once the page has begun it tells of its failures itself.
(function () {
  var status = document.getElementById("status");
  var tell = function (text) {
    status.textContent = "cannot start";
    document.querySelector("#error span").textContent = text;
    document.getElementById("error").hidden = false;
  };
  var other = " A current Chrome, Edge, Firefox or Safari will do.";
  if (!("noModule" in HTMLScriptElement.prototype)) return tell("This browser is too old for this page: it needs JavaScript modules and WebAssembly." + other);
  addEventListener("error", function (event) {
    if (document.body.dataset.begun) return;
    if (event.target.type === "module" && location.protocol === "file:") tell("Browsers run no modules from files: serve the folder, as ./build.sh serve does, and open its address.");
    else if (event.target.type === "module") tell("A part of the page did not arrive: reload it once the connection is better.");
    else if (event.message) tell("This browser cannot run the page (" + event.message + ")." + other);
  }, true);
})();
