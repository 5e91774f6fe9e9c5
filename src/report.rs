//! Plain data that the command line prints as JSON and the page receives: one definition for both.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A share of correct answers with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Correct answers.
    pub correct: usize,
    /// Answers in total.
    pub total: usize,
    /// `correct / total`, between 0 and 1.
    pub value: f64,
    /// Lower end of the Wilson 95 % interval.
    pub low: f64,
    /// Upper end of the Wilson 95 % interval.
    pub high: f64,
}

impl Accuracy {
    /// From counts; Wilson (1927) score interval, which stays inside 0..1 for few examples.
    pub fn new(correct: usize, total: usize) -> Self {
        let count = total.max(1) as f64;
        let value = correct as f64 / count;
        let z = 1.959_964;
        let z2 = z * z / count;
        let center = (value + z2 / 2.0) / (1.0 + z2);
        let half = z / (1.0 + z2) * (value * (1.0 - value) / count + z2 / (4.0 * count)).sqrt();
        Self { correct, total, value, low: (center - half).max(0.0), high: (center + half).min(1.0) }
    }
}

/// A count with what is counted, in words.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Something that went wrong without stopping the work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// [`Error::code`].
    pub code: String,
    /// What happened, naming the file.
    pub message: String,
}

impl From<&Error> for Warning {
    fn from(error: &Error) -> Self {
        Self { code: error.code().into(), message: error.to_string() }
    }
}

/// Composition weights of a method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoefficientReport {
    /// Module names, the columns of `weights`.
    pub modules: Vec<String>,
    /// Layer groups (`blocks.3.fc1`, `blocks.3` or `model`), the rows of `weights`.
    pub groups: Vec<String>,
    /// One weight per group and module.
    pub weights: Vec<Vec<f32>>,
    /// Mean of each module's weights over the groups.
    pub means: Vec<f32>,
}

impl CoefficientReport {
    /// From weights per group and module.
    pub fn new(modules: Vec<String>, groups: Vec<String>, weights: Vec<Vec<f32>>) -> Self {
        let mean = |column: usize| {
            weights.iter().filter_map(|row| row.get(column)).sum::<f32>() / weights.len().max(1) as f32
        };
        let means = (0..modules.len()).map(mean).collect();
        Self { modules, groups, weights, means }
    }
}

/// What a method says of one labelled test image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestAnswer {
    /// File name.
    pub image: String,
    /// Index of its true class.
    pub class: usize,
    /// Softmax probability of every class.
    pub probabilities: Vec<f32>,
}

/// What one method achieved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodReport {
    /// Command-line name.
    pub method: String,
    /// Share of test images classified correctly; absent without a test folder.
    pub test_accuracy: Option<f64>,
    /// 95 % interval of the test accuracy.
    pub test_interval: Option<[f64; 2]>,
    /// Share of training images classified correctly after training.
    pub train_accuracy: f64,
    /// Share of training images classified correctly when held out; absent if nothing can be held out.
    #[serde(alias = "loo_accuracy")]
    pub held_out_accuracy: Option<f64>,
    /// 95 % interval of the held-out accuracy.
    #[serde(alias = "loo_interval")]
    pub held_out_interval: Option<[f64; 2]>,
    /// How many folds the held-out accuracy comes from; as many as images means leave-one-out.
    #[serde(alias = "loo_folds")]
    pub held_out_folds: usize,
    /// Trained values, the head included.
    pub trainable_parameters: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Wall-clock seconds of the final run, without the held-out runs.
    pub seconds: f64,
    /// Loss of every step.
    pub losses: Vec<f32>,
    /// Whether a person ended it before all steps or all held-out folds were done, so that another run would give
    /// other numbers.
    #[serde(default)]
    pub stopped: bool,
    /// Whether what it has learned is less than the whole run gives: it was ended before its held-out folds began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_short: bool,
    /// Whether the trained head was replaced by one fitted on the final features.
    pub head_refitted: bool,
    /// What the head's logits are divided by, so that probabilities are true of held-out images; absent where nothing is held
    /// out, and in reports of older versions.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// Composition weights, for methods that compose.
    pub coefficients: Option<CoefficientReport>,
    /// The module that was chosen, for `best-module`.
    pub chosen_module: Option<String>,
    /// Counts of (true, predicted) test images.
    pub confusion: Option<Vec<Vec<usize>>>,
    /// The answers that `confusion` counts.
    #[serde(default)]
    pub answers: Option<Vec<TestAnswer>>,
}

/// How a method did on test images, nothing where there are none: part of a [`MethodReport`], whose names it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TestReport {
    /// Share of test images classified correctly.
    pub test_accuracy: Option<f64>,
    /// 95 % interval of the test accuracy.
    pub test_interval: Option<[f64; 2]>,
    /// Counts of (true, predicted) test images.
    pub confusion: Option<Vec<Vec<usize>>>,
    /// The answers that `confusion` counts.
    pub answers: Option<Vec<TestAnswer>>,
}

/// How well a method did where it was learned, as a saved task says it of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Images that it was learned from.
    pub train_images: usize,
    /// As in [`MethodReport`], like what follows.
    pub test_accuracy: Option<f64>,
    /// 95 % interval of the test accuracy.
    pub test_interval: Option<[f64; 2]>,
    /// Share of training images classified correctly when held out.
    pub held_out_accuracy: Option<f64>,
    /// 95 % interval of the held-out accuracy.
    pub held_out_interval: Option<[f64; 2]>,
    /// How many folds the held-out accuracy comes from.
    pub held_out_folds: usize,
    /// Trained values, the head included.
    pub trainable_parameters: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Wall-clock seconds of the final run.
    pub seconds: f64,
}

impl Measured {
    /// What a report says of a method that was learned from so many images.
    pub fn of(report: &MethodReport, train_images: usize) -> Self {
        Self {
            train_images,
            test_accuracy: report.test_accuracy,
            test_interval: report.test_interval,
            held_out_accuracy: report.held_out_accuracy,
            held_out_interval: report.held_out_interval,
            held_out_folds: report.held_out_folds,
            trainable_parameters: report.trainable_parameters,
            steps: report.steps,
            // A number of few digits is read as it was written.
            seconds: (1e3 * report.seconds).round() / 1e3,
        }
    }
}

/// What a session holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Adapter name, or the CPU backend's.
    pub device_name: String,
    /// Whether a GPU adapter is software.
    pub software: bool,
    /// The model's name.
    pub model: String,
    /// Values of the model without its head.
    pub parameters: usize,
    /// Height and width that the model sees, in pixels.
    pub input_size: (usize, usize),
    /// Side of the input in pixels where another one than the model's own was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// Names of the modules.
    pub modules: Vec<String>,
}

/// What `adapt` reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptReport {
    /// The model's name.
    pub model: String,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Adapter name, or the CPU backend's.
    pub device_name: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Training images used.
    pub num_train: usize,
    /// Test images used.
    pub num_test: usize,
    /// Images per class asked for; absent means all.
    pub shots: Option<usize>,
    /// Seed.
    pub seed: u64,
    /// The method to take, where nobody says; that is saved.
    #[serde(default)]
    pub suggested: Option<String>,
    /// One entry per method, in the order asked for.
    pub methods: Vec<MethodReport>,
    /// What went wrong without stopping the work.
    pub warnings: Vec<Warning>,
}

/// One class with its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassProbability {
    /// Class name.
    pub label: String,
    /// Index of the class.
    pub index: usize,
    /// Softmax probability.
    pub probability: f32,
}

/// What a model says of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// File name.
    pub image: String,
    /// Most probable classes, best first.
    pub top: Vec<ClassProbability>,
}

impl Prediction {
    /// Whether the most probable class has a probability that is enough; without a bound any is.
    pub fn is_sure(&self, enough: Option<f32>) -> bool {
        let highest = self.top.first().map_or(0.0, |class| class.probability);
        enough.is_none_or(|enough| highest >= enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wilson interval of 8 out of 10, as statsmodels gives it.
    #[test]
    fn the_interval_is_wilsons() {
        let accuracy = Accuracy::new(8, 10);
        assert!((accuracy.low - 0.490_162).abs() < 1e-4 && (accuracy.high - 0.943_318).abs() < 1e-4);
        assert_eq!(Accuracy::new(0, 0).value, 0.0);
        assert!(Accuracy::new(5, 5).high <= 1.0);
    }

    #[test]
    fn one_is_counted_in_the_singular() {
        let classes = |number| count(number, "class", "classes");
        assert_eq!([0, 1, 2].map(classes), ["0 classes", "1 class", "2 classes"]);
    }
}
