//! What one session learned, as numbers that another one of the same model and modules goes on with: a page without a GPU
//! trains methods in several workers, and one of them answers for all.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Session, adapted::Adapted, config::AdaptConfig};
use crate::{
    error::{Error, Result},
    head::{Features, Head, views::Views},
    methods::registry::{Ingredients, Method, Plan},
    report::Measured,
    train::trainer::Trained,
};

/// What a trained method learned, without what follows from model, modules and settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    method: Method,
    scale: f32,
    /// The head as it was trained.
    trained_head: Numbers,
    /// The method's values, in parameter order.
    values: Vec<Numbers>,
    /// The head that answers: the trained one, or one fitted on the features.
    head: Numbers,
    /// Features of the training images under the adapted model, `[n, F]`.
    features: Numbers,
    /// Classes of these images.
    labels: Vec<usize>,
    /// Loss of every step.
    losses: Numbers,
    measured: Option<Measured>,
}

/// Numbers as bytes, little-endian: there can be millions, and a page would make an object of each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Numbers(#[serde(with = "serde_bytes")] Vec<u8>);

impl Numbers {
    fn new<'a>(numbers: impl IntoIterator<Item = &'a f32>) -> Self {
        Self(numbers.into_iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    fn of_head(head: &Head) -> Self {
        Self::new(head.weight.iter().chain(&head.bias))
    }

    fn get(&self) -> Vec<f32> {
        let (numbers, _) = self.0.as_chunks();
        numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// A head of so many features, each class with its weights and one bias.
    fn head(&self, features: usize) -> Head {
        let mut weight = self.get();
        let classes = weight.len() / (features + 1);
        let bias = weight.split_off(classes * features);
        Head { features, weight, bias }
    }
}

impl Adapted {
    /// What another session of the same model and modules needs to go on with this result.
    ///
    /// # Errors
    /// The method trains nothing but a head.
    pub fn hand_over(&self) -> Result<Handover> {
        let trained = self.trained.as_ref().ok_or_else(|| untrained(self.method))?;
        Ok(Handover {
            method: self.method,
            scale: self.scale,
            trained_head: Numbers::of_head(&trained.head),
            values: trained.values.iter().map(Numbers::new).collect(),
            head: Numbers::of_head(&self.head),
            features: Numbers::new(&self.features.images().values),
            labels: self.features.images().labels.clone(),
            losses: Numbers::new(&self.losses),
            measured: self.measured.clone(),
        })
    }
}

impl Session {
    /// The result that another session handed over; `config` is what it was trained with.
    ///
    /// # Errors
    /// It was learned with another model, other modules or other settings, as far as its size says.
    pub fn take_over(&self, handed: &Handover, config: &AdaptConfig) -> Result<Adapted> {
        let dim = self.model.vit.config.feature_dim();
        let features = Features { dim, values: handed.features.get(), labels: handed.labels.clone() };
        let (trained_head, head) = (handed.trained_head.head(dim), handed.head.head(dim));
        let arm = self.arm(handed.method, head.bias.len(), config);
        let ingredients = Ingredients { scale: handed.scale, ..arm.ingredients() };
        let plan = ingredients.plan(handed.method)?.ok_or_else(|| untrained(handed.method))?;
        if features.values.len() != dim * features.labels.len() || trained_head.bias.len() != head.bias.len()
        {
            return Err(other(handed.method));
        }
        let values: Vec<Vec<f32>> = handed.values.iter().map(Numbers::get).collect();
        let vit = plan.adapt.apply(&plan.vit, &self.tensors(handed.method, &plan, &values)?);
        let trained = Trained { head: trained_head, values };
        let learned = arm.learned(&plan, (vit, Views::none(features)), trained, handed.losses.get());
        Ok(Adapted { head, measured: handed.measured.clone(), ..learned })
    }

    fn tensors(&self, method: Method, plan: &Plan, values: &[Vec<f32>]) -> Result<Vec<Tensor<2>>> {
        let parameters = plan.adapt.parameters();
        let shapes: Vec<[usize; 2]> = parameters.iter().map(|parameter| parameter.value.dims()).collect();
        let sizes = shapes.iter().map(|shape| shape.iter().product::<usize>());
        if !sizes.eq(values.iter().map(Vec::len)) {
            return Err(other(method));
        }
        let data = values.iter().zip(shapes).map(|(values, shape)| TensorData::new(values.clone(), shape));
        Ok(data.map(|data| Tensor::from_data(data, &self.device.plain)).collect())
    }
}

fn untrained(method: Method) -> Error {
    Error::mismatch(method.name(), "it trains no values that could be handed over")
}

fn other(method: Method) -> Error {
    let reason = "what was handed over was learned with another model, other modules or other settings";
    Error::mismatch(method.name(), reason)
}
