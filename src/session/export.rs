//! What was learned as files: a PEFT adapter with its head, or a whole model in the Hugging Face layout, and `task.json`.

use std::path::Path;

use super::{
    Session,
    adapted::Adapted,
    digest::hex,
    place::{MODEL_FILES, TASK},
    task::TaskFile,
};
use crate::{
    checkpoint::save,
    error::{Error, Result},
    files::json_bytes,
    head::Head,
    image::preprocess::Preprocess,
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

/// In which form an adapted model is saved. After full fine-tuning it is a whole model in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskForm {
    /// A PEFT adapter, exact or at a rank at most.
    Adapter(Option<usize>),
    /// A whole model with the updates folded in, for programs that know no PEFT.
    Merged,
}

impl TaskForm {
    /// Whether a method's result is saved as a whole model.
    pub fn is_whole(self, method: Method) -> bool {
        self == Self::Merged || method == Method::Full
    }
}

/// A file's name in a folder, and what is in it.
pub type NamedFile = (&'static str, Vec<u8>);

/// A saved task before it is in a folder or an archive.
pub struct SavedTask {
    /// In the order in which they are written: with the last one, `task.json`, the task is complete.
    pub files: Vec<NamedFile>,
    /// Relative Frobenius error of the update at the rank that was asked for; 0 where it is exact.
    pub error: f64,
}

impl Session {
    /// An adapted model as the files of a saved task; `dialect` says which transformers loads the adapter.
    ///
    /// # Errors
    /// The device was lost, an update cannot be decomposed, or [`Session::cannot_save`] says why not.
    pub async fn task_files(
        &self,
        adapted: &Adapted,
        classes: &[String],
        form: TaskForm,
        dialect: Dialect,
    ) -> Result<SavedTask> {
        let (name, preprocess) = (&self.model.name, &self.model.preprocess);
        let (mut files, mut error, mut model_sha256) = (Vec::new(), 0.0, None);
        if let (TaskForm::Adapter(rank), false) = (form, form.is_whole(adapted.method)) {
            let (module, lost) = self.module_at_rank(adapted, rank)?;
            let (config, weights) = module.to_peft(&self.peft_format(dialect, Precision::F32))?;
            files.extend([(folder::WEIGHTS, weights), (folder::CONFIG, config.into_bytes())]);
            (error, model_sha256) = (lost, Some(hex(&self.model_digest().await?)));
        } else {
            let model = (&adapted.vit, &adapted.head, Precision::F32);
            files.extend(model_files(name, model, classes, preprocess).await?);
        }
        let (height, width) = preprocess.input_size();
        let task = TaskFile {
            multi_crop: adapted.multi_crop,
            format: 1,
            model: lasting_name(name),
            model_sha256,
            method: adapted.method,
            merged: form == TaskForm::Merged && adapted.method != Method::Full,
            classes: classes.to_vec(),
            img_size: (height == width).then_some(height),
            mean: preprocess.mean(),
            std: preprocess.std(),
            filter: self.model.options.filter,
            cropping: self.model.options.cropping,
            measured: adapted.measured.clone(),
        };
        files.push((TASK, json_bytes(TASK, &task)?));
        Ok(SavedTask { files, error })
    }

    /// Why what a method makes of this model has no form that others read, if so; the model decides it, not the place.
    pub fn cannot_save(&self, method: Method, form: TaskForm) -> Option<Error> {
        let config = || save::config_json(&self.model.name, &self.model.vit.config, &[], Precision::F32);
        form.is_whole(method).then(config)?.err()
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
            base_model: Some(lasting_name(&self.model.name)),
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

/// A model in the Hugging Face layout at a precision; `config.json` comes last, so that a folder with it is complete.
///
/// # Errors
/// An architecture without a name in transformers, or a lost device.
pub async fn model_files(
    name: &str,
    (vit, head, precision): (&Vit, &Head, Precision),
    classes: &[String],
    preprocess: &Preprocess,
) -> Result<Vec<NamedFile>> {
    let [weights, preprocessor, config] = MODEL_FILES;
    // What has no name is refused before its weights are read.
    let described = save::config_json(name, &vit.config, classes, precision)?;
    Ok(vec![
        (weights, save::safetensors(name, vit, head, precision).await?),
        (preprocessor, json_bytes(preprocessor, &preprocess.to_json())?),
        (config, json_bytes(config, &described)?),
    ])
}
