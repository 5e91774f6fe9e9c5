//! What a run says while it goes on, and what it is told.

use serde::{Deserialize, Serialize};

use crate::{device, report::CoefficientReport};

/// Where a run is, for a progress bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Progress {
    /// A step of the final run goes on.
    Within {
        /// Command-line name of the method.
        method: String,
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
    },
    /// Training steps of the final run.
    Step {
        /// Command-line name of the method.
        method: String,
        /// Steps done.
        step: usize,
        /// Steps in all.
        num_steps: usize,
        /// Loss of the last step.
        loss: f32,
        /// Share of the last minibatch that was classified correctly before the step.
        accuracy: f32,
        /// Composition weights now, every few steps.
        coefficients: Option<CoefficientReport>,
    },
    /// Folds of the held-out estimate.
    Fold {
        /// Command-line name of the method.
        method: String,
        /// Folds done.
        fold: usize,
        /// Folds in all.
        num_folds: usize,
    },
    /// The test images.
    Test {
        /// Command-line name of the method.
        method: String,
    },
}

/// What a run should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    GoOn,
    /// Wait, and ask again.
    Pause,
    /// End with what was learned so far.
    Stop,
}

/// Told where a run is; says what to do next. Asked again and again while a run is paused.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> Flow;

/// Lets a browser's event loop run, waits while paused, and says whether to go on.
pub(super) async fn may_go_on(mut ask: impl FnMut() -> Flow) -> bool {
    loop {
        // What a person said during the step is heard before the question, not after it.
        device::breathe(0).await;
        match ask() {
            Flow::Stop => return false,
            Flow::Pause => device::breathe(PAUSE).await,
            Flow::GoOn => return true,
        }
    }
}

/// Milliseconds between two questions while a run is paused.
pub const PAUSE: u32 = 50;
