//! Project files of the page: a zip of pictures, modules, settings and results that computes the same numbers anywhere.

use std::io::{Cursor, Read};

use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use crate::{
    dataset::{Dataset, Example},
    error::{Error, Result},
    lora::module::LoraModule,
    methods::registry::Method,
    report::MethodReport,
    session::{Session, adapt::AdaptConfig},
};

/// Largest single file in a project, in bytes: a zip can claim any size.
const MAX_FILE: u64 = 256 << 20;

/// `project.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectFile {
    /// Version of this layout; 1.
    pub format: u32,
    /// Name of the model that was adapted.
    pub model: String,
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
    zip: ZipArchive<Cursor<Vec<u8>>>,
    /// Its description.
    pub file: ProjectFile,
}

impl Project {
    /// Opens a project from its bytes; `name` is for messages.
    ///
    /// # Errors
    /// Not a zip, or not one that the page saved.
    pub fn open(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Error::config(name, "-", format!("{error}; is it a project saved by the page?"))
        })?;
        let mut project = Self {
            name: name.into(),
            zip,
            file: ProjectFile {
                format: 1,
                model: String::new(),
                config: AdaptConfig::default(),
                methods: Vec::new(),
                classes: Vec::new(),
                modules: Vec::new(),
                results: Vec::new(),
            },
        };
        let text = project.text("project.json")?;
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
            let config = self.text(&format!("modules/{module}/adapter_config.json"))?;
            let weights = self.bytes(&format!("modules/{module}/adapter_model.safetensors"))?;
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
                let crop = session.crop(path, &self.bytes(path)?)?;
                let name = path.rsplit('/').next().unwrap_or(path).to_string();
                examples.push(Example { name, class, crop });
            }
        }
        let name = format!("{} ({part})", self.name);
        Ok(Dataset { name, classes: classes.into_iter().map(|class| class.name).collect(), examples })
    }

    fn bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        let place = format!("{}/{path}", self.name);
        let bad = |reason: String| Error::config(&place, "-", reason);
        let file = self.zip.by_name(path).map_err(|error| bad(error.to_string()))?;
        if file.size() > MAX_FILE {
            return Err(bad(format!("{} bytes; at most {MAX_FILE} are read", file.size())));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
        Ok(bytes)
    }

    fn text(&mut self, path: &str) -> Result<String> {
        let place = format!("{}/{path}", self.name);
        String::from_utf8(self.bytes(path)?).map_err(|_| Error::config(&place, "-", "it is not UTF-8"))
    }
}

/// How far a replayed method is from what was saved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The method.
    pub method: String,
    /// Saved and replayed test accuracy.
    pub test_accuracy: [Option<f64>; 2],
    /// Saved and replayed held-out accuracy.
    pub held_out_accuracy: [Option<f64>; 2],
    /// Largest difference of a probability over all test pictures and classes; absent without test pictures.
    pub probability: Option<f32>,
}

impl Difference {
    /// Compares two reports of one method.
    pub fn new(saved: &MethodReport, replayed: &MethodReport) -> Self {
        let answers = saved.answers.as_ref().zip(replayed.answers.as_ref());
        let probability = answers.map(|(saved, replayed)| {
            let pairs = saved.iter().zip(replayed);
            let values = pairs.flat_map(|(a, b)| a.probabilities.iter().zip(&b.probabilities));
            values.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        });
        Self {
            method: saved.method.clone(),
            test_accuracy: [saved.test_accuracy, replayed.test_accuracy],
            held_out_accuracy: [saved.loo_accuracy, replayed.loo_accuracy],
            probability,
        }
    }

    /// Whether everything agrees to a tolerance.
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
