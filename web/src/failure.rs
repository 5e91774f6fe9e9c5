//! Why the wasm module stopped, for the page: a trap itself says only "unreachable".

use wasm_bindgen::prelude::*;

thread_local! {
    static PANIC: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Keeps what a panic says, and writes it to the console.
pub fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        let text = info.payload_as_str().unwrap_or("the computation failed");
        PANIC.with(|panic| *panic.borrow_mut() = Some(text.into()));
    }));
}

/// What the panic that ended this instance said; nothing after a trap without a panic, which is how an allocation that
/// finds no memory ends.
#[wasm_bindgen(js_name = panicMessage)]
pub fn panic_message() -> Option<String> {
    PANIC.with(|panic| panic.borrow().clone())
}
