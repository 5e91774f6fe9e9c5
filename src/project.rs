//! Project files of the page: a zip of pictures, modules, settings and results that computes the same numbers anywhere.

mod archive;
pub mod task;

use archive::Archive;
use serde::{Deserialize, Serialize};

use crate::{
    dataset::{Dataset, Example},
    error::{Error, Result},
    head::softmax,
    lora::module::LoraModule,
    methods::registry::Method,
    report::{MethodReport, TestAnswer},
    session::{Session, config::AdaptConfig},
};

/// `project.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectFile {
    /// Version of this layout; 1.
    pub format: u32,
    /// Name of the model that was adapted.
    pub model: String,
    /// Square input size in pixels, if another one than the model's own was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// Settings of the run.
    pub config: AdaptConfig,
    /// Methods that ran.
    pub methods: Vec<Method>,
    /// Classes with their files.
    pub classes: Vec<ProjectClass>,
    /// Modules; each is a folder of PEFT files under `modules/`.
    pub modules: Vec<String>,
    /// What the page found.
    pub results: Vec<MethodReport>,
}

/// One class: paths inside the zip, in the order in which they were used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectClass {
    /// Class name.
    pub name: String,
    /// Training pictures.
    pub train: Vec<String>,
    /// Test pictures.
    pub test: Vec<String>,
}

/// An opened project.
pub struct Project {
    name: String,
    archive: Archive,
    /// Its description.
    pub file: ProjectFile,
}

impl Project {
    /// Opens a project from its bytes; `name` is for messages.
    ///
    /// # Errors
    /// Not a zip, or not one that the page saved.
    pub fn open(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let archive = Archive::open(name, bytes, "is it a project saved by the page?")?;
        let mut project = Self {
            name: name.into(),
            archive,
            file: ProjectFile {
                format: 1,
                model: String::new(),
                img_size: None,
                config: AdaptConfig::default(),
                methods: Vec::new(),
                classes: Vec::new(),
                modules: Vec::new(),
                results: Vec::new(),
            },
        };
        if !project.archive.has("project.json") {
            let reason = "no project.json in it; is it a project saved by the page?";
            return Err(Error::config(name, "-", reason));
        }
        let text = project.archive.text("project.json")?;
        project.file = serde_json::from_str(&text)
            .map_err(|error| Error::config(&format!("{name}/project.json"), "-", error.to_string()))?;
        match project.file.format {
            1 => Ok(project),
            other => Err(Error::config(name, "format", format!("{other} is not 1; update loraloom"))),
        }
    }

    /// Adds the project's modules to a session.
    ///
    /// # Errors
    /// A module is missing, refused, or does not fit the model.
    pub fn add_modules(&mut self, session: &mut Session) -> Result<()> {
        for module in self.file.modules.clone() {
            let config = self.archive.text(&format!("modules/{module}/adapter_config.json"))?;
            let weights = self.archive.bytes(&format!("modules/{module}/adapter_model.safetensors"))?;
            session.add_module(LoraModule::from_bytes(&module, &config, &weights)?.0)?;
        }
        Ok(())
    }

    /// Training and test pictures as the model sees them; no test set without test pictures.
    ///
    /// # Errors
    /// A picture is missing or cannot be decoded.
    pub fn datasets(&mut self, session: &Session) -> Result<(Dataset, Option<Dataset>)> {
        let train = self.dataset(session, "train", |class| &class.train)?;
        let test = self.dataset(session, "test", |class| &class.test)?;
        Ok((train, (!test.examples.is_empty()).then_some(test)))
    }

    fn dataset(
        &mut self,
        session: &Session,
        part: &str,
        paths: impl Fn(&ProjectClass) -> &[String],
    ) -> Result<Dataset> {
        let classes = self.file.classes.clone();
        let mut examples = Vec::new();
        for (class, own) in classes.iter().enumerate() {
            for path in paths(own) {
                let crop = session.crop(path, &self.archive.bytes(path)?)?;
                let name = path.rsplit('/').next().unwrap_or(path).to_string();
                examples.push(Example { name, class, crop });
            }
        }
        let name = format!("{} ({part})", self.name);
        Ok(Dataset { name, classes: classes.into_iter().map(|class| class.name).collect(), examples })
    }
}

/// How far a replayed method is from what was saved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The method.
    pub method: String,
    /// Saved and replayed test accuracy.
    pub test_accuracy: [Option<f64>; 2],
    /// Saved and replayed held-out accuracy; absent where they come from other numbers of folds (methods that only fit a head
    /// once left out one image at a time).
    pub held_out_accuracy: [Option<f64>; 2],
    /// Largest difference of a probability over all test pictures and classes; 1 where there is nothing to compare one
    /// with, absent without test pictures.
    pub probability: Option<f32>,
}

/// As far apart as probabilities can be.
const FARTHEST: f32 = 1.0;

impl Difference {
    /// Compares two reports of one method.
    pub fn new(saved: &MethodReport, replayed: &MethodReport) -> Self {
        let probability = match (&saved.answers, &replayed.answers) {
            (None, None) => None,
            // Older versions did not look at how sure a head may be.
            (Some(old), Some(new)) if saved.temperature.is_none() => {
                Some(farthest(old, &warmed(new, replayed.temperature.unwrap_or(1.0))))
            }
            (Some(saved), Some(replayed)) => Some(farthest(saved, replayed)),
            _ => Some(FARTHEST),
        };
        let alike = saved.held_out_folds == replayed.held_out_folds;
        let held_out = |report: &MethodReport| report.held_out_accuracy.filter(|_| alike);
        Self {
            method: saved.method.clone(),
            test_accuracy: [saved.test_accuracy, replayed.test_accuracy],
            held_out_accuracy: [held_out(saved), held_out(replayed)],
            probability,
        }
    }

    /// Whether everything that was saved agrees to a tolerance.
    pub fn within(&self, tolerance: f64) -> bool {
        let near = |pair: [Option<f64>; 2]| match pair {
            [Some(a), Some(b)] => (a - b).abs() <= tolerance,
            [a, b] => a == b,
        };
        near(self.test_accuracy)
            && near(self.held_out_accuracy)
            && self.probability.is_none_or(|difference| f64::from(difference) <= tolerance)
    }
}

/// Answers as they are before logits are divided by a temperature.
fn warmed(answers: &[TestAnswer], temperature: f32) -> Vec<TestAnswer> {
    let warm = |answer: &TestAnswer| {
        let logits: Vec<f32> = answer.probabilities.iter().map(|value| temperature * value.ln()).collect();
        TestAnswer { probabilities: softmax(&logits), ..answer.clone() }
    };
    answers.iter().map(warm).collect()
}

/// Largest difference of a probability; other numbers of pictures or classes, and what is no number, differ most.
fn farthest(saved: &[TestAnswer], replayed: &[TestAnswer]) -> f32 {
    let same = |(a, b): (&TestAnswer, &TestAnswer)| a.probabilities.len() == b.probabilities.len();
    if saved.len() != replayed.len() || !saved.iter().zip(replayed).all(same) {
        return FARTHEST;
    }
    let pairs = saved.iter().zip(replayed);
    let values = pairs.flat_map(|(a, b)| a.probabilities.iter().zip(&b.probabilities));
    let differences = values.map(|(a, b)| (a - b).abs());
    differences.map(|value| if value.is_nan() { FARTHEST } else { value }).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(answers: &[&[f32]], test_accuracy: f64) -> MethodReport {
        let answer = |probabilities: &&[f32]| serde_json::json!({"image": "a.png", "class": 0, "probabilities": probabilities});
        let mut report: MethodReport = serde_json::from_value(serde_json::json!({
            "method": "linear-probe", "test_accuracy": test_accuracy, "test_interval": null, "train_accuracy": 1.0,
            "held_out_accuracy": null, "held_out_interval": null, "held_out_folds": 0, "trainable_parameters": 1, "steps": 0,
            "seconds": 0.0, "losses": [], "head_refitted": false, "coefficients": null, "chosen_module": null,
            "confusion": null, "answers": answers.iter().map(answer).collect::<Vec<_>>(),
        }))
        .expect("a report");
        report.test_accuracy = Some(test_accuracy);
        report
    }

    #[test]
    fn what_cannot_be_compared_counts_as_a_difference() {
        let replayed = report(&[&[0.25, 0.75], &[0.5, 0.5]], 0.5);
        let probability = |saved: &MethodReport| Difference::new(saved, &replayed).probability;
        let near = report(&[&[0.25, 0.75], &[0.5, 0.5005]], 0.5);
        assert!(Difference::new(&near, &replayed).within(1e-3));
        assert!(probability(&near).is_some_and(|value| (value - 5e-4).abs() < 1e-6));
        let mut not_a_number = near.clone();
        not_a_number.answers.as_mut().expect("answers")[0].probabilities[1] = f32::NAN;
        let mut none = near.clone();
        none.answers = None;
        for other in [
            report(&[&[0.25, 0.75]], 0.5),
            report(&[&[0.25, 0.75], &[1.0]], 0.5),
            report(&[], 0.5),
            not_a_number,
            none,
        ] {
            assert_eq!(probability(&other), Some(1.0));
            assert!(!Difference::new(&other, &replayed).within(1e-3));
        }
        let mut accuracy = near;
        accuracy.test_accuracy = Some(f64::NAN);
        assert!(!Difference::new(&accuracy, &replayed).within(1e-3));
    }

    #[test]
    fn held_out_accuracies_are_compared_where_as_many_folds_made_them() {
        let (mut saved, mut replayed) = (report(&[&[1.0]], 0.5), report(&[&[1.0]], 0.5));
        (saved.held_out_accuracy, saved.held_out_folds) = (Some(0.9), 3);
        (replayed.held_out_accuracy, replayed.held_out_folds) = (Some(0.8), 3);
        assert!(!Difference::new(&saved, &replayed).within(1e-3));
        saved.held_out_folds = 12;
        let difference = Difference::new(&saved, &replayed);
        assert_eq!(difference.held_out_accuracy, [None, None]);
        assert!(difference.within(1e-3), "an older version left out one image at a time");
    }

    #[test]
    fn probabilities_of_older_versions_are_compared_without_a_temperature() {
        let (saved, mut replayed) = (report(&[&[0.9, 0.1]], 0.5), report(&[&[0.75, 0.25]], 0.5));
        assert!(!Difference::new(&saved, &replayed).within(1e-3));
        // 9 to 1 is 3 to 1 at twice the temperature.
        replayed.temperature = Some(2.0);
        assert!(Difference::new(&saved, &replayed).within(1e-3));
        let mut new = saved;
        new.temperature = Some(1.0);
        assert!(!Difference::new(&new, &replayed).within(1e-3));
    }

    #[test]
    fn results_of_older_versions_are_read() {
        let new = serde_json::to_string(&report(&[&[1.0]], 0.5)).expect("JSON");
        let old = new.replace("held_out_", "loo_");
        assert!(old.contains("loo_folds") && !old.contains("held_out"), "{old}");
        assert_eq!(serde_json::from_str::<MethodReport>(&old).expect("a report"), report(&[&[1.0]], 0.5));
    }
}
