//! The page's worker: bytes and numbers in, reports out. No mathematics lives here.
//!
//! [`Engine`] keeps one session with the pictures that were dropped in and the methods that were run; methods run side
//! by side as futures of one thread, which give way to the browser after every step. Workers share them out without a GPU
//! (`sharing`).

mod engine;
mod failure;
mod request;
mod saving;
mod sharing;

pub use engine::Engine;
