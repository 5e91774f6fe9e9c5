//! A teacher's view of the training photos, computed once: its features, and the head that reads them.

use burn::tensor::{Tensor, TensorData};

use super::{passes, photos::Photo};
use crate::{
    device::OpenDevice,
    error::{Error, Result},
    head::Head,
    session::Model,
};

/// What a student is taught besides the labels.
pub struct Teacher {
    /// Features of every training photo, `[N, F]` row-major.
    pub features: Vec<f32>,
    /// The teacher's own head on these features.
    pub head: Head,
}

impl Teacher {
    /// Runs a model over the photos; its features must be as wide as the student's, because the student's are read by
    /// the teacher's head.
    ///
    /// # Errors
    /// The widths differ, the model has no head, or an image cannot be read.
    pub async fn new(
        model: &Model,
        width: usize,
        photos: &[Photo],
        device: &OpenDevice,
        on_progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let dim = model.vit.config.feature_dim();
        if dim != width {
            let reason = format!("its features have {dim} values, the student's {width}; they must agree");
            return Err(Error::mismatch(format!("teacher {}", model.name), reason));
        }
        let head = model.head.clone().ok_or_else(|| {
            Error::mismatch(format!("teacher {}", model.name), "it has no classification head")
        })?;
        let features = passes::features(&model.vit, &model.preprocess, photos, device, on_progress).await?;
        Ok(Self { features: features.values, head })
    }

    /// Class probabilities of some photos under the teacher's head, `[B, C]`.
    pub fn targets(&self, indices: &[usize], device: &OpenDevice) -> Tensor<2> {
        let dim = self.head.features;
        let rows: Vec<f32> = indices
            .iter()
            .flat_map(|&index| &self.features[index * dim..(index + 1) * dim])
            .copied()
            .collect();
        let rows = Tensor::from_data(TensorData::new(rows, [indices.len(), dim]), &device.plain);
        burn::tensor::activation::softmax(self.head.to_tensors(&device.plain).forward(rows), 1)
    }
}
