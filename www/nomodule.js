// For browsers that know no modules: nothing else of the page runs there.
document.getElementById("status").textContent = "This browser is too old for this page: it needs JavaScript modules and WebAssembly. A current Chrome, Edge, Firefox or Safari will do.";
