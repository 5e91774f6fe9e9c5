//! What was learned, for a person to keep.

use std::rc::Rc;

use loraloom::{
    Dialect, LoraModule,
    session::{export::TaskForm, place::TASK, task::TaskFile},
};
use wasm_bindgen::prelude::*;

use crate::{
    engine::{Engine, Learned},
    request::{Saved, SavedFile, to_error, to_worker},
};

#[wasm_bindgen]
impl Engine {
    /// A method's result as the files of a saved task: `{files: [{name, bytes}], error}`, the error being the relative Frobenius
    /// error of the update at `rank`. It is an adapter, exact without a rank, or if `merged` a whole model, which it is after
    /// full fine-tuning in any case.
    #[wasm_bindgen(js_name = saveTask)]
    pub async fn save_task(
        &self,
        method: String,
        merged: bool,
        rank: Option<usize>,
    ) -> std::result::Result<JsValue, JsValue> {
        let learned = self.learned(&method).map_err(to_error)?;
        let form = if merged { TaskForm::Merged } else { TaskForm::Adapter(rank) };
        let session = self.session();
        let saved = session.task_files(&learned.adapted, &learned.classes, form, Dialect::New).await;
        let saved = saved.map_err(to_error)?;
        let files = saved.files.into_iter().map(|(name, bytes)| SavedFile { name: name.into(), bytes });
        to_worker(&Saved { files: files.collect(), error: saved.error })
    }

    /// Takes back what [`Engine::save_task`] gave: it answers again as the method's result. Of an adapter this model is the very
    /// one that it was learned on; without one it is the whole model that was saved.
    #[wasm_bindgen(js_name = takeBack)]
    pub async fn take_back(
        &self,
        task: String,
        config: Option<String>,
        weights: Option<Vec<u8>>,
    ) -> std::result::Result<(), JsValue> {
        let task = TaskFile::parse(TASK, &task).map_err(to_error)?;
        let parts = config.zip(weights);
        let module =
            parts.map(|(config, weights)| LoraModule::from_bytes(task.method.name(), &config, &weights));
        let module = module.transpose().map_err(to_error)?.map(|(module, _)| module);
        let adapted = self.session().take_back(&task, module).await.map_err(to_error)?;
        let classes = task.classes.into();
        self.keep(Learned { adapted: Rc::new(adapted), classes, config: Rc::default() });
        Ok(())
    }
}
