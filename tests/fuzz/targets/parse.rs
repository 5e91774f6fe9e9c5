//! Everything that reads a stranger's bytes: `cargo +nightly fuzz run --dev --sanitizer none --fuzz-dir tests/fuzz parse`.
//!
//! An input is the parser's number, in one byte, and a file. `cargo test --test properties corpus -- --ignored` writes
//! files to begin with.
#![no_main]

#[path = "../parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some((which, bytes)) = input.split_first() {
        drop(parsers::read(*which, bytes));
    }
});
