//! Saved tasks in folders: `task.json`, which beside the weights is enough to predict later, and what replaces what.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    ModelOptions, Session,
    adapted::Adapted,
    digest::hex,
    export::TaskForm,
    files::read_text,
    place::{MODEL_FILES, TASK},
};
use crate::{
    error::{Error, Result},
    files::{Together, check_folder, check_free, follow},
    head::{Features, Head, views::Views},
    image::{preprocess::Cropping, resize::Filter},
    lora::{
        cat::Updates,
        folder,
        library::LoraLibrary,
        module::{LoraModule, SavedHead},
        names::Dialect,
    },
    methods::registry::{FrozenWeights, Method},
    report::Measured,
    vit::model::Vit,
};

/// `task.json`: what `predict` needs beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Version of this file's layout.
    pub format: u32,
    /// The model that was adapted, as it was named; a folder by its whole path.
    pub model: String,
    /// Hash of the model that was adapted and of how images reach it; absent where the folder holds a whole model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// The method.
    pub method: Method,
    /// Whether the folder holds a whole model with the method's updates folded in instead of an adapter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
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
    /// Whether it answers by several crops of a picture ([`AdaptConfig::multi_crop`](super::config::AdaptConfig::multi_crop)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_crop: bool,
    /// How well the method did; absent in tasks of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What to give where a saved task is wanted.
pub const ASKED: &str = "give the folder that --save wrote, or the zip that the page saved";

impl TaskFile {
    /// Reads `task.json` of a folder.
    ///
    /// # Errors
    /// It is absent or not of this layout, or the folder is a file.
    pub fn read(dir: &Path) -> Result<Self> {
        check_folder(dir)?;
        let (path, name) = (dir.join(TASK), dir.display().to_string());
        // What the system does not let us see is for it to tell.
        if matches!(dir.try_exists(), Ok(false)) {
            return Err(Error::mismatch(name, format!("there is no such folder or file; {ASKED}")));
        }
        if matches!(path.try_exists(), Ok(false)) {
            return Err(Error::mismatch(name, format!("no {TASK} in it; {ASKED}")));
        }
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
        self.merged || self.method == Method::Full
    }

    /// The head that answers for the task's classes; `name` is for messages.
    ///
    /// # Errors
    /// There is none, or it is for other classes.
    fn check_head<T>(&self, name: &str, head: Option<T>, classes: impl Fn(&T) -> usize) -> Result<T> {
        let head = head.ok_or_else(|| Error::mismatch(name, "it has no head, so it knows no classes"))?;
        let (named, known) = (self.classes.len(), classes(&head));
        if known == named {
            return Ok(head);
        }
        let reason = format!("task.json names {named} classes, and the head answers for {known}");
        Err(Error::mismatch(name, reason))
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
    /// Saves an adapted model: the files of [`Session::task_files`], `task.json` last, so that a folder with it is complete. A
    /// task that was there before is replaced whole, once all of the new one is on the disk.
    ///
    /// # Errors
    /// The folder cannot be written, the device was lost, or [`Session::check_savable`] refuses the method.
    pub async fn save_task(
        &self,
        adapted: &Adapted,
        classes: &[String],
        form: TaskForm,
        dialect: Dialect,
        dir: &Path,
    ) -> Result<()> {
        self.check_savable(adapted.method, form, dir)?;
        let saved = self.task_files(adapted, classes, form, dialect).await?;
        // What there is stays until all of the new task is on the disk.
        let files = Together::of(dir, &saved.files)?;
        Self::remove_task(form.is_whole(adapted.method), dir)?;
        files.finish()
    }

    /// Refuses what [`Session::save_task`] could not save, before it is trained.
    ///
    /// # Errors
    /// All weights of an architecture that transformers has no name for, a folder with an adapter or a model that is of
    /// no task saved there, or with the model in use, which would stay beside an adapter.
    pub fn check_savable(&self, method: Method, form: TaskForm, dir: &Path) -> Result<()> {
        let whole = form.is_whole(method);
        let place = |path: &Path| fs::canonicalize(path).ok();
        let in_use = place(dir).is_some_and(|dir| place(Path::new(&self.model.name)) == Some(dir));
        match TaskFile::read(dir).ok().map(|old| old.is_whole_model()) {
            Some(old) if old == whole => (),
            // The adapter of the old task goes with it.
            Some(false) => check_free(dir, &MODEL_FILES)?,
            // Its model goes, too, unless it is the one in use.
            Some(true) if !in_use => check_free(dir, &folder::FILES)?,
            _ => {
                check_free(dir, &MODEL_FILES)?;
                check_free(dir, &folder::FILES)?;
            }
        }
        self.cannot_save(method, form).map_or(Ok(()), Err)
    }

    /// Takes away the task that a folder holds: its `task.json` first, and the files that a task of the new kind does not
    /// write again.
    fn remove_task(whole: bool, dir: &Path) -> Result<()> {
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
        match old.is_whole_model() {
            old if old == whole => Ok(()),
            true => MODEL_FILES.into_iter().try_for_each(remove),
            false => folder::FILES.into_iter().try_for_each(remove),
        }
    }

    /// Why a task is not of this session's model, where it was learned on another one; one of an older version does not say.
    async fn other_model(&self, task: &TaskFile) -> Result<Option<String>> {
        let Some(theirs) = &task.model_sha256 else { return Ok(None) };
        let (name, model) = (&task.model, &self.model.name);
        let reason = || {
            format!("the task was learned on {name}, and {model} is another model or another version of it")
        };
        Ok((*theirs != hex(&self.model_digest().await?)).then(reason))
    }

    /// Whether a task's pictures reached the model in another way than this session's do.
    fn prepares_otherwise(&self, task: &TaskFile) -> bool {
        let (options, preprocess) = (&self.model.options, &self.model.preprocess);
        let scaled = (task.mean, task.std) != (preprocess.mean(), preprocess.std());
        (task.filter, task.cropping) != (options.filter, options.cropping)
            || (scaled && task.model == self.model.name)
    }

    /// A task that was saved ([`Session::task_files`]) as the result that it was saved from: it answers, and is saved again,
    /// but its modules cannot be mixed anew. Without a module this session's model is the whole model that was saved.
    ///
    /// # Errors
    /// It was learned on another model, has no head for its classes or does not fit; or the device was lost.
    pub async fn take_back(&self, task: &TaskFile, module: Option<LoraModule>) -> Result<Adapted> {
        match module {
            Some(module) => self.take_adapter(task, module).await,
            None => self.take_model(task),
        }
    }

    async fn take_adapter(&self, task: &TaskFile, module: LoraModule) -> Result<Adapted> {
        let name = task.method.name();
        // What is wrong with any model is told before another one is asked for.
        let saved = task.check_head(name, module.head.clone(), |head| head.classes)?;
        let unknown = (task.model_sha256.is_none() && task.model != self.model.name).then(|| {
            format!("the task was learned on {}, and does not say on which version of it", task.model)
        });
        if let Some(reason) = self.other_model(task).await?.or(unknown) {
            if self.prepares_otherwise(task) {
                let reason = "its pictures were prepared in another way than the model's own (mean, deviation, resampling or cropping); \
                              `loraloom predict` prepares them so";
                return Err(Error::mismatch(name, reason));
            }
            let reason = format!("{reason}; open the model that it was learned on first");
            return Err(Error::OtherModel { what: name.into(), reason });
        }
        let idle = module.changes_nothing().then_some(FrozenWeights::Base);
        let adapted = self.with_adapter(&module, saved)?;
        Ok(self.taken(task, adapted, idle, Some(module.layers)))
    }

    /// The model with an adapter folded in, and the adapter's head.
    fn with_adapter(&self, module: &LoraModule, saved: SavedHead) -> Result<(Vit, Head)> {
        let (head, vit) = (self.head_of(&module.name, saved)?, &self.model.vit);
        if module.changes_nothing() {
            return Ok((vit.clone(), head));
        }
        let library = LoraLibrary::new(std::slice::from_ref(module), vit, &self.device.plain)?;
        Ok((library.merge_alike(vit, &[1.0]), head))
    }

    fn take_model(&self, task: &TaskFile) -> Result<Adapted> {
        let name = task.method.name();
        if !task.is_whole_model() {
            return Err(Error::mismatch(name, "its adapter is missing: open the task as it was saved"));
        }
        let head = task.check_head(name, self.model.head.clone(), Head::classes)?;
        // Of full fine-tuning there is no update, and what was folded in is part of the base now.
        let updates = (task.method != Method::Full).then(Updates::new);
        Ok(self.taken(task, (self.model.vit.clone(), head), Some(FrozenWeights::Base), updates))
    }

    fn taken(
        &self,
        task: &TaskFile,
        (vit, head): (Vit, Head),
        weights: Option<FrozenWeights>,
        updates: Option<Updates>,
    ) -> Adapted {
        Adapted {
            method: task.method,
            weights,
            multi_crop: task.multi_crop,
            vit,
            library: self.module_digests(),
            trainable_parameters: task
                .measured
                .as_ref()
                .map_or(head.num_parameters(), |own| own.trainable_parameters),
            features: Views::none(Features { dim: head.features, values: Vec::new(), labels: Vec::new() }),
            head,
            trained: None,
            scale: 1.0,
            updates,
            coefficients: None,
            chosen_module: None,
            losses: Vec::new(),
            measured: task.measured.clone(),
        }
    }

    /// From now on the model answers as the task that it was saved for.
    pub fn answer_as(&mut self, task: &TaskFile) {
        self.model.multi_crop = task.multi_crop;
    }

    /// A folder's adapted model loaded into this session, whose model must be the task's: a warning where it is not.
    ///
    /// # Errors
    /// The device was lost, or the adapter cannot be read or does not fit.
    pub async fn load_task(&mut self, dir: &Path, task: &TaskFile) -> Result<Vec<Error>> {
        self.load_adapter(&dir.display().to_string(), LoraModule::from_dir(dir)?, task).await
    }

    /// As [`Session::load_task`], of an adapter and the warnings that came with it; `name` is for messages.
    ///
    /// # Errors
    /// The device was lost, or the adapter does not fit.
    pub async fn load_adapter(
        &mut self,
        name: &str,
        (module, mut warnings): (LoraModule, Vec<Error>),
        task: &TaskFile,
    ) -> Result<Vec<Error>> {
        if let Some(reason) = self.other_model(task).await? {
            warnings.push(Error::mismatch(name, format!("{reason}: answers can be wrong")));
        }
        let saved = task.check_head(name, module.head.clone(), |head| head.classes)?;
        let (vit, head) = self.with_adapter(&module, saved)?;
        self.clear_modules();
        self.base_digest.set(None);
        (self.model.vit, self.model.head) = (vit, Some(head));
        self.answer_as(task);
        self.model.labels = task.classes.clone();
        Ok(warnings)
    }
}
