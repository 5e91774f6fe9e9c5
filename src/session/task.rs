//! Saving what was learned: a PEFT adapter with its head (or a whole model after full fine-tuning)
//! plus `task.json`, which is enough to predict later.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ModelOptions, Session, arm::Adapted, digest::hex, files::read_text};
use crate::{
    checkpoint::save,
    error::{Error, Result},
    files::{Together, check_folder, check_free, follow},
    head::Head,
    image::{
        preprocess::{Cropping, Preprocess},
        resize::Filter,
    },
    lora::{
        cat::Updates,
        folder,
        layout::{Family, PeftFormat},
        module::{LoraLayer, LoraModule, SavedHead},
        names::Dialect,
        svd::truncate,
        tensor_file::Precision,
    },
    methods::registry::Method,
    vit::{
        config::{MlpKind, Pooling},
        model::Vit,
        target::Target,
    },
};

/// Name of the file that makes a folder a saved task.
pub const TASK: &str = "task.json";

/// Name of the card that `train-module` writes beside a module.
pub const CARD: &str = "training.json";

/// Refuses a folder for a module that is trained, unless one was trained there before, which is trained anew.
///
/// # Errors
/// It holds somebody's adapter or a saved task.
pub fn check_module_place(dir: &Path) -> Result<()> {
    check_free(dir, &[TASK])?;
    if dir.join(CARD).exists() { Ok(()) } else { check_free(dir, &folder::FILES) }
}

/// Name of the card that `compose` writes beside a composition.
pub const COMPOSITION: &str = "composition.json";

/// Refuses a folder for a composition in which somebody's adapter is, or the card of a module or a task's classes would be
/// beside what they do not speak of.
///
/// # Errors
/// It holds a trained module, a saved task, or an adapter that is no composition.
pub fn check_composition_place(dir: &Path) -> Result<()> {
    check_free(dir, &[TASK, CARD])?;
    if dir.join(COMPOSITION).exists() { Ok(()) } else { check_free(dir, &folder::FILES) }
}

/// Refuses a folder for a base model in which somebody else's model is; a checkpoint says that it is of a run that goes on.
///
/// # Errors
/// It holds a model of something else, or a saved task.
pub fn check_base_place(dir: &Path, checkpoint: &str) -> Result<()> {
    check_free(dir, &[TASK])?;
    if dir.join(checkpoint).exists() { Ok(()) } else { check_free(dir, &MODEL_FILES) }
}

/// `task.json`: what `predict` needs beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Version of this file's layout.
    pub format: u32,
    /// The model that was adapted, as it was named; a folder by its whole path.
    pub model: String,
    /// Hash of the model that was adapted and of how images reach it; absent after full fine-tuning, which leaves a model of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// The method.
    pub method: Method,
    /// Class names in the order of the head.
    pub classes: Vec<String>,
    /// Square input size in pixels; absent where the model's own is no square, because nothing else can be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// Mean per channel.
    pub mean: [f32; 3],
    /// Standard deviation per channel.
    pub std: [f32; 3],
    /// Resampling filter, if another than the model's own was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Cropping, if another way than the model's own was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cropping: Option<Cropping>,
}

impl TaskFile {
    /// Reads `task.json` of a folder.
    ///
    /// # Errors
    /// It is absent or not of this layout, or the folder is a file.
    pub fn read(dir: &Path) -> Result<Self> {
        check_folder(dir)?;
        let path = dir.join(TASK);
        Self::parse(&path.display().to_string(), &read_text(&path)?)
    }

    /// Reads the text of a `task.json`; `name` is for messages.
    ///
    /// # Errors
    /// It is not of this layout.
    pub fn parse(name: &str, json: &str) -> Result<Self> {
        let task: Self = serde_json::from_str(json).map_err(|error| {
            Error::config(name, "-", format!("{error}; is the folder one that --save wrote?"))
        })?;
        match task.format {
            1 => Ok(task),
            other => Err(Error::config(name, "format", format!("{other} is not 1; update loraloom"))),
        }
    }

    /// Whether the folder holds a whole model instead of an adapter.
    pub fn is_whole_model(&self) -> bool {
        self.method == Method::Full
    }

    /// How the model's input was prepared.
    pub fn model_options(&self) -> ModelOptions {
        ModelOptions {
            img_size: self.img_size,
            mean: Some(self.mean),
            std: Some(self.std),
            filter: self.filter,
            cropping: self.cropping,
        }
    }
}

impl Session {
    /// Saves an adapted model: PEFT files that Python PEFT loads, or a checkpoint after full
    /// fine-tuning, and `task.json` last, so that a folder with it is complete. A task that was there before is replaced
    /// whole, once all of the new one is on the disk. `dialect` says which transformers loads the adapter.
    ///
    /// # Errors
    /// The folder cannot be written, the device was lost, or [`Session::check_savable`] refuses the method.
    pub async fn save_task(
        &self,
        adapted: &Adapted,
        classes: &[String],
        dialect: Dialect,
        dir: &Path,
    ) -> Result<()> {
        let (name, preprocess) = (&self.model.name, &self.model.preprocess);
        self.check_savable(adapted.method, dir)?;
        // What there is stays until all of the new task is on the disk.
        let mut files = Together::new(dir)?;
        let model_sha256 = match &adapted.updates {
            Some(updates) => {
                let format = self.peft_format(dialect, Precision::F32);
                let (config, weights) = self.module(adapted, updates).to_peft(&format)?;
                files.add(&dir.join(folder::WEIGHTS), &weights)?;
                files.add(&dir.join(folder::CONFIG), config.as_bytes())?;
                Some(hex(&self.model_digest().await?))
            }
            None => {
                let model = (&adapted.vit, &adapted.head, Precision::F32);
                ModelFolder::new(name, model, classes, preprocess).await?.add_to(&mut files, dir)?;
                None
            }
        };
        let (height, width) = preprocess.input_size();
        let task = TaskFile {
            format: 1,
            model: lasting_name(&self.model.name),
            model_sha256,
            method: adapted.method,
            classes: classes.to_vec(),
            img_size: (height == width).then_some(height),
            mean: preprocess.mean(),
            std: preprocess.std(),
            filter: self.model.options.filter,
            cropping: self.model.options.cropping,
        };
        files.add_json(&dir.join(TASK), &task)?;
        self.remove_task(adapted.method, dir)?;
        files.finish()
    }

    /// Refuses what [`Session::save_task`] could not save, before it is trained.
    ///
    /// # Errors
    /// All weights of an architecture that transformers has no name for, or a folder with an adapter or a model that is of
    /// no task saved there.
    pub fn check_savable(&self, method: Method, dir: &Path) -> Result<()> {
        let whole = method == Method::Full;
        let ours = TaskFile::read(dir).is_ok_and(|old| old.is_whole_model() == whole);
        match (ours, whole) {
            (true, _) => (),
            (false, true) => check_free(dir, &MODEL_FILES)?,
            (false, false) => check_free(dir, &folder::FILES)?,
        }
        self.cannot_save(method).map_or(Ok(()), Err)
    }

    /// Why what a method makes of this model has no form that others read, if so; the model decides it, not the place.
    pub fn cannot_save(&self, method: Method) -> Option<Error> {
        let config = || save::config_json(&self.model.name, &self.model.vit.config, &[], Precision::F32);
        (method == Method::Full).then(config)?.err()
    }

    /// Takes away the task that a folder holds: its `task.json` first, and the files that a task of the new kind does not
    /// write again, unless they are the model in use.
    fn remove_task(&self, method: Method, dir: &Path) -> Result<()> {
        let old = TaskFile::read(dir);
        let remove = |file: &str| {
            let path = follow(&dir.join(file))?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::io("remove", &path, error))
                }
                _ => Ok(()),
            }
        };
        remove(TASK)?;
        let Ok(old) = old else { return Ok(()) };
        let same = |path: &Path| {
            fs::canonicalize(path).ok().zip(fs::canonicalize(dir).ok()).is_some_and(|(a, b)| a == b)
        };
        let stale = old.is_whole_model() != (method == Method::Full) && !same(Path::new(&self.model.name));
        match (stale, old.is_whole_model()) {
            (false, _) => Ok(()),
            (true, true) => MODEL_FILES.into_iter().try_for_each(remove),
            (true, false) => folder::FILES.into_iter().try_for_each(remove),
        }
    }

    /// A folder's adapted model loaded into this session, whose model must be the task's: a warning where it is not.
    ///
    /// # Errors
    /// The device was lost, or the adapter cannot be read or does not fit.
    pub async fn load_task(&mut self, dir: &Path, task: &TaskFile) -> Result<Vec<Error>> {
        let (module, mut warnings) = LoraModule::from_dir(dir)?;
        let digest = hex(&self.model_digest().await?);
        if task.model_sha256.as_ref().is_some_and(|own| *own != digest) {
            let reason = format!(
                "the task was learned on {}, and {} is another model or another version of it: answers can be wrong",
                task.model, self.model.name
            );
            warnings.push(Error::mismatch(dir.display().to_string(), reason));
        }
        self.modules.clear();
        self.digests.clear();
        self.library = None;
        self.add_module(module)?;
        warnings.extend(self.merge(&[1.0])?);
        let classes = self.model.head.as_ref().map(Head::classes);
        if classes != Some(task.classes.len()) {
            let reason =
                format!("task.json names {} classes, and the adapter's head has others", task.classes.len());
            return Err(Error::mismatch(dir.display().to_string(), reason));
        }
        self.model.labels = task.classes.clone();
        Ok(warnings)
    }

    /// The result of an arm as one LoRA module at a rank at most (all of it without one), and the relative
    /// Frobenius error of the update.
    ///
    /// # Errors
    /// Full fine-tuning, which has no low-rank update, or an update that cannot be decomposed.
    pub fn module_at_rank(&self, adapted: &Adapted, rank: Option<usize>) -> Result<(LoraModule, f64)> {
        let name = adapted.method.name();
        let updates = adapted
            .updates
            .as_ref()
            .ok_or_else(|| Error::mismatch(name, "full fine-tuning has no adapter; save another method"))?;
        let Some(rank) = rank else { return Ok((self.module(adapted, updates), 0.0)) };
        let (mut kept, mut norm, mut lost) = (Updates::new(), 0.0, 0.0);
        for (key, layer) in updates {
            let truncated = truncate(layer, rank)?;
            norm += truncated.norm * truncated.norm;
            lost += truncated.lost * truncated.lost;
            kept.insert(*key, truncated.layer);
        }
        let error = if norm > 0.0 { (lost / norm).sqrt() } else { 0.0 };
        Ok((self.module(adapted, &kept), error))
    }

    /// The result of an arm as one LoRA module with its head.
    ///
    /// PEFT cannot save a head alone: a method without updates gets one of rank 1 and value zero.
    pub fn module(&self, adapted: &Adapted, updates: &Updates) -> LoraModule {
        let mut layers = updates.clone();
        if layers.is_empty() {
            let dim = self.model.vit.config.embed_dim;
            let zero = LoraLayer {
                rank: 1,
                in_dim: dim,
                out_dim: dim,
                a: vec![0.0; dim],
                b: vec![0.0; dim],
                scaling: 1.0,
            };
            layers.insert((0, Target::Query), zero);
        }
        let head = &adapted.head;
        let head = SavedHead {
            classes: head.classes(),
            dim: head.features,
            weight: head.weight.clone(),
            bias: head.bias.clone(),
        };
        LoraModule {
            name: adapted.method.name().into(),
            layers,
            head: Some(head),
            base_model: Some(self.model.name.clone()),
        }
    }

    /// How a module of this model is written; the prefix is the name under which transformers wraps the architecture.
    pub fn peft_format(&self, dialect: Dialect, precision: Precision) -> PeftFormat<'static> {
        let config = &self.model.vit.config;
        let prefix = match config.pooling {
            Pooling::ClsPatchMean => "dinov2",
            _ if config.num_prefix_tokens == 2 => "deit",
            _ => "vit",
        };
        let family = match (self.model.timm, config.mlp) {
            (true, _) => Family::Timm,
            (false, MlpKind::SwiGlu) => Family::Gated,
            (false, MlpKind::Gelu) => Family::Plain,
        };
        PeftFormat { dialect, prefix, precision, family, two_heads: config.pooling == Pooling::ClsDist }
    }
}

/// The name of a model from any folder: a relative one would be taken for an id of the Hub elsewhere.
fn lasting_name(name: &str) -> String {
    let path = Path::new(name);
    // A folder of that name without a model is not where the model came from.
    let whole = path.join("config.json").is_file().then(|| std::path::absolute(path).ok()).flatten();
    whole.map_or_else(|| name.to_string(), |path| path.display().to_string())
}

/// The files of a model, in the order in which they are written.
const MODEL_FILES: [&str; 3] = ["model.safetensors", "preprocessor_config.json", "config.json"];

/// A model in the Hugging Face layout, made whole before any of it is written.
pub struct ModelFolder {
    weights: Vec<u8>,
    preprocessor: Value,
    config: Value,
}

impl ModelFolder {
    /// A model at a precision.
    ///
    /// # Errors
    /// An architecture without a name in transformers, or a lost device.
    pub async fn new(
        name: &str,
        (vit, head, precision): (&Vit, &Head, Precision),
        classes: &[String],
        preprocess: &Preprocess,
    ) -> Result<Self> {
        let config = save::config_json(name, &vit.config, classes, precision)?;
        let weights = save::safetensors(name, vit, head, precision).await?;
        Ok(Self { weights, preprocessor: preprocess.to_json(), config })
    }

    /// Writes it; `config.json` comes last, so that a folder with it is complete.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut files = Together::new(dir)?;
        self.add_to(&mut files, dir)?;
        files.finish()
    }

    fn add_to(&self, files: &mut Together, dir: &Path) -> Result<()> {
        let [weights, preprocessor, config] = MODEL_FILES.map(|file| dir.join(file));
        files.add(&weights, &self.weights)?;
        files.add_json(&preprocessor, &self.preprocessor)?;
        files.add_json(&config, &self.config)
    }
}
