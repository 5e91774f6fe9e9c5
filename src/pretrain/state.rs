//! Checkpoints of a pre-training run: everything that decides how it goes on.

use std::{collections::HashMap, fs, path::Path};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{config::PretrainConfig, photos::Photos};
use crate::{
    device,
    error::{Error, Result},
    files::write_atomic,
    lora::tensor_file::decode,
    session::{Model, digest::hex},
    train::parameters::Parameters,
};

/// Parameters, their moving average, and how many steps were taken.
pub struct State {
    /// Trained values and the optimiser's moments.
    pub parameters: Parameters,
    /// Exponential moving average of the values: what is evaluated and shipped.
    pub average: Vec<Tensor<2>>,
    /// Steps taken.
    pub step: usize,
}

/// What must be the same for a run to go on from a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Settings.
    pub config: PretrainConfig,
    /// [`Photos::digest`] of the training photos, as text.
    pub photos: String,
    /// [`Model::digest`] of the teacher, as text.
    #[serde(default)]
    pub teacher: Option<String>,
    /// The same of the model that the first step started from.
    #[serde(default)]
    pub init: Option<String>,
}

impl Identity {
    /// That of a run of these photos and models.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn new(
        config: &PretrainConfig,
        photos: &Photos,
        teacher: Option<&Model>,
        init: Option<&Model>,
    ) -> Result<Self> {
        let digest = async |model: Option<&Model>| match model {
            Some(model) => model.digest().await.map(|digest| Some(hex(&digest))),
            None => Ok(None),
        };
        Ok(Self {
            config: config.clone(),
            photos: hex(&photos.digest()),
            teacher: digest(teacher).await?,
            init: digest(init).await?,
        })
    }
}

impl State {
    /// The state before the first step.
    pub fn new(values: Vec<Tensor<2>>) -> Self {
        Self { average: values.clone(), parameters: Parameters::new(values), step: 0 }
    }

    /// Whether another state has values of the same shapes.
    pub fn fits(&self, other: &Self) -> bool {
        let shapes = |state: &Self| state.parameters.values.iter().map(Tensor::dims).collect::<Vec<_>>();
        shapes(self) == shapes(other)
    }

    /// Writes the state and the run it belongs to.
    ///
    /// # Errors
    /// The file cannot be written, or the device was lost.
    pub async fn save(&self, path: &Path, run: &Identity) -> Result<()> {
        let mut tensors: Vec<(String, Tensor<2>)> = Vec::new();
        for (index, value) in self.parameters.values.iter().enumerate() {
            tensors.push((format!("value.{index}"), value.clone()));
            tensors.push((format!("average.{index}"), self.average[index].clone()));
            if let Some((first, second)) = self.parameters.optimizer.moments.get(index).cloned().flatten() {
                tensors.push((format!("first.{index}"), first));
                tensors.push((format!("second.{index}"), second));
            }
        }
        let mut data = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            let shape = tensor.dims().to_vec();
            let bytes: Vec<u8> =
                device::read(tensor).await?.iter().flat_map(|value| value.to_le_bytes()).collect();
            data.push((name, shape, bytes));
        }
        let bad = |error: safetensors::SafeTensorError| refused(path, error.to_string());
        let views = data.iter().map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(bad)?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let text = serde_json::to_string(run).map_err(|error| refused(path, error.to_string()))?;
        let metadata = HashMap::from([
            ("step".to_string(), self.step.to_string()),
            ("optimizer_steps".to_string(), self.parameters.optimizer.steps.to_string()),
            ("run".to_string(), text),
        ]);
        write_atomic(path, &safetensors::serialize(views, Some(metadata)).map_err(bad)?)
    }

    /// Reads a state that [`State::save`] wrote for the same run.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another run.
    pub fn load(path: &Path, run: &Identity, device: &Device) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| Error::io("read", path, error))?;
        let bad = |error: safetensors::SafeTensorError| refused(path, error.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
        let saved: Option<Identity> = serde_json::from_str(text("run")).ok();
        if let Some(what) = difference(saved.as_ref(), run) {
            let reason = format!("it belongs to a run with {what}; use another --out, or the same again");
            return Err(Error::mismatch(path.display().to_string(), reason));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(bad)?;
        let name = path.display().to_string();
        let tensor = |kind: &str, index: usize| -> Result<Option<Tensor<2>>> {
            let key = format!("{kind}.{index}");
            let Ok(view) = file.tensor(&key) else { return Ok(None) };
            let values = decode(&name, &key, view.dtype(), view.data())?;
            Ok(Some(Tensor::from_data(TensorData::new(values, view.shape().to_vec()), device)))
        };
        let mut state = Self::new(Vec::new());
        while let Some(value) = tensor("value", state.parameters.values.len())? {
            let index = state.parameters.values.len();
            state.average.push(tensor("average", index)?.unwrap_or_else(|| value.clone()));
            let moments = tensor("first", index)?.zip(tensor("second", index)?);
            state.parameters.optimizer.moments.push(moments);
            state.parameters.values.push(value);
        }
        state.parameters.optimizer.steps = text("optimizer_steps").parse().unwrap_or_default();
        state.step = text("step").parse().map_err(|_| refused(path, "it has no step".into()))?;
        Ok(state)
    }
}

/// What a saved run had that this one has not.
fn difference(saved: Option<&Identity>, run: &Identity) -> Option<String> {
    let model = |saved: &Option<String>, own: &Option<String>, none, other| match (saved, own) {
        _ if saved == own => None,
        (None, _) => Some(none),
        _ => Some(other),
    };
    let Some(saved) = saved else { return Some("other settings".into()) };
    let photos = (saved.photos != run.photos).then_some("other photos");
    photos
        .or_else(|| model(&saved.teacher, &run.teacher, "no teacher", "another teacher"))
        .or_else(|| model(&saved.init, &run.init, "no --init", "another --init"))
        .map(str::to_string)
        .or_else(|| setting(&saved.config, &run.config))
}

/// The first setting that differs, with both values.
fn setting(saved: &PretrainConfig, own: &PretrainConfig) -> Option<String> {
    if saved == own {
        return None;
    }
    let (saved, own) = (fields(saved), fields(own));
    let differs = own.iter().find_map(|(name, new)| {
        let old = saved.get(name)?;
        (old != new).then(|| format!("{name} {old}, and this one has {new}"))
    });
    Some(differs.unwrap_or_else(|| "other settings".into()))
}

/// Settings as they stand in a file: a number of 32 bits has more digits as a value.
fn fields(config: &PretrainConfig) -> serde_json::Map<String, serde_json::Value> {
    // Plain numbers always become JSON.
    let text = serde_json::to_string(config).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Safetensors { name: path.display().to_string(), reason }
}
