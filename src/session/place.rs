//! What lies in a folder says whether a command may write there: nothing of somebody else's is replaced.

use std::path::Path;

use crate::{error::Result, files::check_free, lora::folder};

/// Name of the file that makes a folder a saved task.
pub const TASK: &str = "task.json";

/// Name of the card that `train-module` writes beside a module.
pub const CARD: &str = "training.json";

/// Refuses a folder for a module that is trained, unless one was trained there before, which is trained anew.
///
/// # Errors
/// It holds somebody's adapter, a model, whose readers would take the adapter for a part of it, or a saved task.
pub fn check_module_place(dir: &Path) -> Result<()> {
    check_free(dir, &[TASK])?;
    check_free(dir, &MODEL_FILES)?;
    if dir.join(CARD).exists() { Ok(()) } else { check_free(dir, &folder::FILES) }
}

/// Name of the card that `compose` writes beside a composition.
pub const COMPOSITION: &str = "composition.json";

/// Refuses a folder for a composition in which somebody's adapter is, or the card of a module or a task's classes would be
/// beside what they do not speak of.
///
/// # Errors
/// It holds a trained module, a saved task, a model, or an adapter that is no composition.
pub fn check_composition_place(dir: &Path) -> Result<()> {
    check_free(dir, &[TASK, CARD])?;
    check_free(dir, &MODEL_FILES)?;
    if dir.join(COMPOSITION).exists() { Ok(()) } else { check_free(dir, &folder::FILES) }
}

/// Refuses a folder for a base model in which somebody else's model is; a checkpoint says that it is of a run that goes on.
///
/// # Errors
/// It holds a model of something else, an adapter, which transformers would load with the model, or a saved task.
pub fn check_base_place(dir: &Path, checkpoint: &str) -> Result<()> {
    check_free(dir, &[TASK, CARD, COMPOSITION])?;
    check_free(dir, &folder::FILES)?;
    if dir.join(checkpoint).exists() { Ok(()) } else { check_free(dir, &MODEL_FILES) }
}

/// Name of an adapter's weights.
pub const ADAPTER_WEIGHTS: &str = folder::WEIGHTS;

/// The files of a model, in the order in which they are written.
pub const MODEL_FILES: [&str; 3] = ["model.safetensors", "preprocessor_config.json", "config.json"];

/// Whether a file of this name is read again as a part of a task, a module, a composition or a model: a report in its place
/// would cost what it belongs to.
pub fn is_read_again(name: &str) -> bool {
    [TASK, CARD, COMPOSITION].contains(&name) || folder::FILES.contains(&name) || MODEL_FILES.contains(&name)
}
