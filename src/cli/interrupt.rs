//! Ctrl-C: the first one asks the work to stop and keep what it has, the second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Starts listening. Without a handler (none can be installed) Ctrl-C simply ends the process.
pub fn listen() {
    let handler = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to end at once");
    };
    if ctrlc::set_handler(handler).is_err() {
        eprintln!("warning: Ctrl-C will end the process at once");
    }
}

/// Whether the work should go on.
pub fn go_on() -> bool {
    !STOP.load(Ordering::SeqCst)
}

/// Whether the work was asked to stop.
pub fn stopped() -> bool {
    !go_on()
}
