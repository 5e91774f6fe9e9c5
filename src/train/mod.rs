//! Training: one optimiser, one schedule, one loop for every method.

pub mod batches;
pub mod optimizer;
mod pace;
pub mod parameters;
mod step;
pub mod trainer;
