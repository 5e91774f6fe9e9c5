//! The page's worker: bytes and numbers in, reports out. No mathematics lives here.
//!
//! [`Engine`] keeps one session with the pictures that were dropped in and the methods that were run; methods run side
//! by side as futures of one thread, which give way to the browser after every step.

mod engine;
mod failure;
mod request;

pub use engine::Engine;
