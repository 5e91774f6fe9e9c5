//! What the page asks for, as plain data.

use loraloom::{
    Method,
    error::Error,
    report::{MethodReport, Prediction},
    session::{config::AdaptConfig, progress::Progress},
};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

/// One class and its pictures, by the numbers that adding them gave.
#[derive(Clone, Debug, Deserialize)]
pub struct ClassPictures {
    /// The class's name.
    pub name: String,
    /// Its pictures.
    pub pictures: Vec<u32>,
}

/// A comparison of methods.
#[derive(Clone, Debug, Deserialize)]
pub struct AdaptRequest {
    /// Methods that run side by side.
    pub methods: Vec<Method>,
    /// Training pictures.
    pub train: Vec<ClassPictures>,
    /// Test pictures, of the same classes in the same order; may be empty.
    pub test: Vec<ClassPictures>,
    /// Settings; absent fields have their defaults, and images stay as they are where nothing is said of varying them.
    #[serde(default)]
    pub config: AdaptConfig,
}

/// A picture as the model sees it, on its way to another worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Crop {
    /// Name of its file.
    pub name: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[height, width, 3]`, row-major.
    #[serde(with = "serde_bytes")]
    pub rgb: Vec<u8>,
}

/// A file of what was learned.
#[derive(Clone, Debug, Serialize)]
pub struct SavedFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// What was learned, as files.
#[derive(Clone, Debug, Serialize)]
pub struct Saved {
    /// In the order in which they are written.
    pub files: Vec<SavedFile>,
    /// Relative Frobenius error of the update.
    pub error: f64,
}

/// What a method says of one picture.
#[derive(Clone, Debug, Serialize)]
pub struct MethodPrediction {
    /// The method, or `mixed`.
    pub method: String,
    /// Its classes with probabilities.
    pub prediction: Prediction,
}

/// Something to show while methods run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// Where a method is.
    Progress {
        /// Its state.
        progress: Progress,
    },
    /// A method was stopped before it had an answer.
    Stopped {
        /// The method.
        method: Method,
    },
    /// A method cannot go on; the others do.
    Failed {
        /// The method.
        method: Method,
        /// Why.
        message: String,
    },
    /// A method has ended.
    Done {
        /// What it achieved.
        report: Box<MethodReport>,
    },
}

/// A value as a plain JavaScript object.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(|error| JsError::new(&error.to_string()).into())
}

/// A value as a JavaScript object whose bytes are a `Uint8Array`, for another worker.
pub fn to_worker(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::new();
    value.serialize(&serializer).map_err(|error| JsError::new(&error.to_string()).into())
}

/// A plain JavaScript object as a value.
pub fn from_js<T: serde::de::DeserializeOwned>(value: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(value).map_err(|error| JsError::new(&error.to_string()).into())
}

/// An error as the page gets it: `{code, message}`.
pub fn to_error(error: Error) -> JsValue {
    let object = js_sys::Object::new();
    // Setting a field of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&object, &"code".into(), &error.code().into());
    let _ = js_sys::Reflect::set(&object, &"message".into(), &error.to_string().into());
    object.into()
}
