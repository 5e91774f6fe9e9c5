//! The front door: every verb that the command line and the page use.
//!
//! [`Session`] holds the device, the model and the library of modules. [`adapt`] compares methods on
//! a few labelled images as [`config`] says and tells its [`progress`], [`arm`] runs one of them step by step, [`adapted`] is what it ends with, [`held_out`] estimates accuracy on
//! held-out images, [`answers`] are about pictures, [`export`] makes files of what was learned, [`task`] saves and loads them, [`place`] says what may be written
//! where, [`handover`] passes what was learned to another session, [`files`] reads folders, `modules` is the library of modules,
//! `crops` are parts of a picture that is asked about, `views` are varied copies that heads are fitted on, [`check`] compares devices, [`warm_up`] compiles a GPU's shaders.

pub mod adapt;
pub mod adapted;
pub mod answers;
pub mod arm;
mod cache;
pub mod check;
mod choice;
pub mod config;
mod crops;
pub mod digest;
pub mod export;
pub mod files;
pub mod frozen;
pub mod handover;
pub mod held_out;
mod modules;
pub mod place;
pub mod progress;
mod store;
pub mod task;
pub mod tensors;
#[cfg(test)]
mod tiny;
mod views;
pub mod warm_up;

use std::cell::{Cell, OnceCell};

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use cache::FeatureCache;
use digest::Digest;

use crate::{
    checkpoint::load,
    device::{self, DeviceChoice, DeviceInfo, OpenDevice},
    error::{Error, Result},
    head::{Head, softmax},
    image::{
        Picture,
        decode::decode,
        preprocess::{Cropping, Preprocess},
        resize::Filter,
    },
    lora::{
        library::LoraLibrary,
        module::{LoraModule, SavedHead},
    },
    report::SessionReport,
    vit::model::Vit,
};

/// The bytes of a checkpoint, with file names for messages.
pub struct ModelFiles<'a> {
    /// The model's name.
    pub name: &'a str,
    /// `config.json`.
    pub config: &'a str,
    /// `preprocessor_config.json`, if there is one.
    pub preprocessor: Option<&'a str>,
    /// `model.safetensors`.
    pub weights: &'a [u8],
}

/// What may differ from the checkpoint's own files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelOptions {
    /// Square input size in pixels; position embeddings are interpolated to it.
    pub img_size: Option<usize>,
    /// Mean per channel, on the 0..1 scale.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation per channel, on the 0..1 scale.
    pub std: Option<[f32; 3]>,
    /// Resampling filter.
    pub filter: Option<Filter>,
    /// How pictures of other shapes are cropped.
    pub cropping: Option<Cropping>,
}

/// A loaded model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name as given.
    pub name: String,
    /// The ViT on the session's device.
    pub vit: Vit,
    /// The checkpoint's own head.
    pub head: Option<Head>,
    /// Names of the head's classes; empty when the checkpoint names none.
    pub labels: Vec<String>,
    /// Whether it is timm's, whose layers have other names.
    pub timm: bool,
    /// From pictures to input values.
    pub preprocess: Preprocess,
    /// Whether it answers by several crops of a picture, as a saved task that was loaded into it
    /// ([`AdaptConfig::multi_crop`](config::AdaptConfig::multi_crop)).
    pub multi_crop: bool,
    /// What of that was asked for instead of the checkpoint's own way.
    pub options: ModelOptions,
}

/// Device, model and modules.
pub struct Session {
    device: OpenDevice,
    model: Model,
    /// Of the model, once it was asked for.
    base_digest: Cell<Option<Digest>>,
    modules: Vec<LoraModule>,
    /// The modules, joined when they are first composed ([`Session::library`]).
    library: OnceCell<LoraLibrary>,
    /// Of the modules' updates, in their order.
    digests: Vec<Digest>,
    cache: FeatureCache,
}

impl Session {
    /// Opens a device and loads a model onto it.
    ///
    /// # Errors
    /// No usable device, or a checkpoint that is refused.
    pub async fn open(choice: DeviceChoice, files: ModelFiles<'_>, options: &ModelOptions) -> Result<Self> {
        let device = device::open(choice).await?;
        let model = load_model(files, options, &device)?;
        let cache = FeatureCache::default();
        Ok(Self {
            device,
            model,
            base_digest: Cell::new(None),
            modules: Vec::new(),
            library: OnceCell::new(),
            digests: Vec::new(),
            cache,
        })
    }

    /// The device in use.
    pub fn device(&self) -> &DeviceInfo {
        &self.device.info
    }

    /// Device, model and modules in a few words.
    pub fn info(&self) -> SessionReport {
        let (device, vit) = (&self.device.info, &self.model.vit);
        SessionReport {
            device: device.kind.into(),
            device_name: device.name.clone(),
            software: device.software,
            model: self.model.name.clone(),
            parameters: vit.num_parameters(),
            input_size: self.model.preprocess.input_size(),
            img_size: self.model.options.img_size,
            modules: self.module_names(),
        }
    }

    /// The open device.
    pub fn open_device(&self) -> &OpenDevice {
        &self.device
    }

    /// The model in use.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model with modules folded in by fixed weights, one per module, the same in every layer.
    ///
    /// The head becomes the last saved head among modules with a non-zero weight, if there is one; a warning says which
    /// one of several.
    ///
    /// # Errors
    /// Another number of weights than modules.
    pub fn merge(&mut self, weights: &[f32]) -> Result<Vec<Error>> {
        let Some(library) = self.library() else { return Ok(Vec::new()) };
        if weights.len() != library.num_modules() {
            let reason = format!("{} weights for {} modules", weights.len(), library.num_modules());
            return Err(Error::mismatch("--weights", reason));
        }
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite()) {
            return Err(Error::mismatch("--weights", format!("{weight} is not a number that can be used")));
        }
        let used = library.modules.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        let headed: Vec<&LoraModule> =
            used.map(|(module, _)| module).filter(|own| own.head.is_some()).collect();
        let warning = several_heads(&headed);
        let saved = headed.last().and_then(|own| Some((&own.name, own.head.clone()?)));
        let head = saved.map(|(name, saved)| self.head_of(name, saved)).transpose()?;
        let vit = library.merge_alike(&self.model.vit, weights);
        self.model.vit = vit;
        self.model.head = head.or(self.model.head.take());
        self.cache.clear();
        self.base_digest.set(None);
        Ok(warning.into_iter().collect())
    }

    /// A module's saved head for this model; `name` is the module's, for messages.
    fn head_of(&self, name: &str, saved: SavedHead) -> Result<Head> {
        let SavedHead { dim, weight, bias, .. } = saved;
        let features = self.model.vit.config.feature_dim();
        if dim != features {
            let reason = format!(
                "its head takes {dim} features, the model gives {features}; it was made for another model"
            );
            return Err(Error::mismatch(name, reason));
        }
        Ok(Head { features, weight, bias })
    }

    /// An image file as the model sees it: decoded, resized, cropped.
    ///
    /// # Errors
    /// It cannot be decoded, or the model does not resize and it has another size.
    pub fn crop(&self, name: &str, bytes: &[u8]) -> Result<Picture> {
        self.model.preprocess.crop(&decode(name, bytes)?).map_err(|error| error.of_image(name))
    }

    /// Last hidden state `[B, T, D]` and, if there is a head, logits `[B, C]` of normalised pixels.
    ///
    /// # Errors
    /// Pixels of another shape than `[B, 3, H, W]` at the model's input size, or values that are not finite.
    pub async fn forward(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Outputs> {
        let (height, width) = self.model.vit.config.img_size;
        if shape[1..] != [3, height, width] || shape[0] == 0 {
            let reason = match shape {
                [0, ..] => "it holds no image; give one or more".to_string(),
                [_, 3, rows, columns] if rows != columns => format!(
                    "{columns}x{rows} pixels, but the model takes {width}x{height}; bring the images to that size, \
                     or to a square, which decides the model's size unless --img-size does"
                ),
                _ => format!("shape {shape:?}, the model takes [images, 3, {height}, {width}]"),
            };
            return Err(Error::mismatch("pixel_values", reason));
        }
        let images = Tensor::<4>::from_data(TensorData::new(pixels, shape), &self.device.plain);
        let hidden = self.model.vit.forward_features(images);
        let hidden_shape = hidden.dims();
        let values = device::read(hidden.clone()).await?;
        Error::check_finite(&values, &self.model.name, "last_hidden_state")?;
        let logits = match &self.model.head {
            Some(head) => {
                let logits = self.model.vit.forward_head(hidden, &head.to_tensors(&self.device.plain));
                let logits = device::read(logits).await?;
                Error::check_finite(&logits, &self.model.name, "logits")?;
                Some((logits, [shape[0], head.classes()]))
            }
            None => None,
        };
        Ok(Outputs { last_hidden_state: (values, hidden_shape), logits })
    }
}

/// A warning where several modules have heads: they may be for different classes, and one can be used.
fn several_heads(headed: &[&LoraModule]) -> Option<Error> {
    let [others @ .., last] = headed else { return None };
    let names: Vec<&str> = others.iter().map(|module| module.name.as_str()).collect();
    let reason = format!("the head of {} is used, those of {} are left out", last.name, names.join(", "));
    (!names.is_empty()).then(|| Error::mismatch("saved heads", reason))
}

/// What a forward pass gives, row-major with shapes.
pub struct Outputs {
    /// `[B, T, D]`.
    pub last_hidden_state: (Vec<f32>, [usize; 3]),
    /// `[B, C]`.
    pub logits: Option<(Vec<f32>, [usize; 2])>,
}

impl Outputs {
    /// What the head says of every image; `None` without one.
    pub fn answers(&self) -> Option<Vec<Answer>> {
        let (logits, [_, classes]) = self.logits.as_ref()?;
        let answer = |row: &[f32]| Answer { logits: row.to_vec(), probabilities: softmax(row) };
        Some(logits.chunks((*classes).max(1)).map(answer).collect())
    }
}

/// What a head says of one image, class by class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// As the head gives them.
    pub logits: Vec<f32>,
    /// Their softmax.
    pub probabilities: Vec<f32>,
}

fn load_model(files: ModelFiles<'_>, options: &ModelOptions, device: &OpenDevice) -> Result<Model> {
    let config_name = format!("{}/config.json", files.name);
    let preprocessor_name = format!("{}/preprocessor_config.json", files.name);
    let preprocessor = files.preprocessor.map(|json| (preprocessor_name.as_str(), json));
    let mut preprocess = Preprocess::from_json(preprocessor, (&config_name, files.config))?;
    let own_size = preprocess.input_size();
    let img_size = options.img_size.map_or(own_size, |side| (side, side));
    preprocess = preprocess.with_input_size(img_size.0, img_size.1);
    let (mean, std) = (options.mean.unwrap_or(preprocess.mean()), options.std.unwrap_or(preprocess.std()));
    // A deviation below the normal numbers has no reciprocal.
    if mean.iter().any(|value| !value.is_finite())
        || std.iter().any(|value| !value.is_normal() || *value <= 0.0)
    {
        return Err(Error::mismatch("--mean, --std", "they must be numbers, and deviations above 0"));
    }
    let own = preprocess.with_mean_std(mean, std);
    let mut preprocess = own.clone();
    preprocess.filter = options.filter.unwrap_or(own.filter);
    if let Some(cropping) = options.cropping {
        preprocess = preprocess.with_cropping(cropping)?;
    }
    let weights_name = format!("{}/model.safetensors", files.name);
    let checkpoint = load::load(
        (&config_name, files.config),
        (&weights_name, files.weights),
        Some(img_size),
        &device.plain,
    )?;
    let classes = checkpoint.head.as_ref().map_or(0, Head::classes);
    let named = checkpoint.info.labels.len() == classes;
    let labels = if named { checkpoint.info.labels } else { Vec::new() };
    let (timm, name) = (checkpoint.info.timm, files.name.into());
    // What is its own, named, is nothing else: projects, tasks and results with and without it are the same.
    let cropped = (preprocess.scale, preprocess.center_crop) != (own.scale, own.center_crop);
    let options = ModelOptions {
        img_size: options.img_size.filter(|_| img_size != own_size),
        filter: options.filter.filter(|_| preprocess.filter != own.filter),
        cropping: options.cropping.filter(|_| cropped),
        ..options.clone()
    };
    let (vit, head) = (checkpoint.vit, checkpoint.head);
    Ok(Model { name, vit, head, labels, timm, preprocess, multi_crop: false, options })
}
