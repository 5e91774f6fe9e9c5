//! The paper's comparison as a grid: tasks x shots x seeds x methods, in shards, resumable.
//!
//! [`plan`] says which cells there are and which of them a shard takes, [`settings`] what decides a run's numbers,
//! [`task`] holds a task's images, [`images`] knows which they were, [`shifts`] changes them. [`run`] works the cells off
//! and [`results`] keeps one line per run. [`pairs`] knows which runs learned from the same images, [`statistics`] is the arithmetic of [`summary`]
//! and [`weights`], which [`report`] and [`answers`] put into tables and words, and [`plots`] into pictures.

pub mod answers;
pub mod images;
pub mod markdown;
pub mod pairs;
pub mod plan;
pub mod plots;
pub mod report;
pub mod results;
pub mod run;
pub mod settings;
pub mod shifts;
pub mod statistics;
pub mod summary;
pub mod task;
pub mod weights;
