//! Everything that reads a stranger's bytes: `cargo +nightly fuzz run --dev --sanitizer none --fuzz-dir tests/fuzz parse`.
#![no_main]

#[path = "../parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|input: (u8, Vec<u8>)| parsers::read(input.0, &input.1));
