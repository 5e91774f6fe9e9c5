//! Features of pictures that are asked about: of the whole, or the mean over several crops.

use super::{Session, adapted::Adapted, config::AdaptConfig};
use crate::{
    dataset::Example, device::Breaks, error::Result, head::Features, methods::registry::FrozenWeights,
};

/// Crops of a picture: the whole, then its corners.
pub(super) const CROPS: usize = 5;

/// Pictures whose crops are held at once: of all of many large ones they would take five times the memory.
const AT_ONCE: usize = 16;

impl Session {
    /// Features by which a result answers about examples.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn asked_features(&self, adapted: &Adapted, examples: &[Example]) -> Result<Features> {
        let pass = async |crops: &[Example]| self.adapted_features(adapted, crops).await;
        over_crops(adapted.multi_crop, examples, pass).await
    }

    /// Features by which frozen weights answer about examples.
    ///
    /// # Errors
    /// As [`Session::frozen_features`].
    pub(super) async fn frozen_asked(
        &self,
        weights: FrozenWeights,
        examples: &[Example],
        config: &AdaptConfig,
    ) -> Result<Features> {
        let pass = async |crops: &[Example]| self.frozen_features(weights, crops).await;
        over_crops(config.multi_crop, examples, pass).await
    }

    /// Features by which the model itself answers about examples.
    pub(super) async fn own_asked(&self, examples: &[Example]) -> Result<Features> {
        let pass = async |crops: &[Example]| self.features(&self.model.vit, crops).await;
        over_crops(self.model.multi_crop, examples, pass).await
    }
}

async fn over_crops(
    multi_crop: bool,
    examples: &[Example],
    pass: impl AsyncFn(&[Example]) -> Result<Features>,
) -> Result<Features> {
    if !multi_crop || examples.is_empty() {
        return pass(examples).await;
    }
    let mut breaks = Breaks::begin();
    let mut all = Features { dim: 0, values: Vec::new(), labels: Vec::new() };
    for part in examples.chunks(AT_ONCE) {
        let mut crops = Vec::with_capacity(CROPS * part.len());
        for example in part {
            crops.extend(crops_of(example)?);
            breaks.take().await;
        }
        let features = pass(&crops).await?;
        all.dim = features.dim;
        all.values
            .extend(features.values.chunks(CROPS * features.dim).flat_map(|rows| mean(rows, features.dim)));
        all.labels.extend(part.iter().map(|example| example.class));
    }
    Ok(all)
}

/// The whole of an example, and its corners.
pub(super) fn crops_of(example: &Example) -> Result<[Example; CROPS]> {
    let corners = example.crop.corners()?.map(|crop| Example { crop, ..example.clone() });
    let [a, b, c, d] = corners;
    Ok([example.clone(), a, b, c, d])
}

/// The mean of rows of so many values.
pub(super) fn mean(rows: &[f32], dim: usize) -> Vec<f32> {
    let count = (rows.len() / dim.max(1)) as f32;
    (0..dim).map(|column| rows.iter().skip(column).step_by(dim).sum::<f32>() / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::block_on, image::Picture};

    #[test]
    fn features_are_the_mean_over_the_crops_of_each_picture() {
        let example = |value: u8, class| {
            let rgb = (0..3 * 400).map(|at| value.wrapping_add((at % 251) as u8)).collect();
            Example { name: String::new(), class, crop: Picture { width: 20, height: 20, rgb } }
        };
        let examples: Vec<Example> =
            (0..20).map(|index| example(11 * index, usize::from(index) % 3)).collect();
        // As features, two pixels.
        let row = |example: &Example| [example.crop.rgb[0], example.crop.rgb[900]].map(f32::from);
        let pass = async |crops: &[Example]| {
            let values = crops.iter().flat_map(row).collect();
            Ok(Features { dim: 2, values, labels: crops.iter().map(|crop| crop.class).collect() })
        };
        let whole = block_on(over_crops(false, &examples, pass)).expect("features");
        assert_eq!(whole.values, examples.iter().flat_map(row).collect::<Vec<_>>());
        let several = block_on(over_crops(true, &examples, pass)).expect("features");
        assert_eq!((several.labels, several.dim), (whole.labels, 2));
        for (example, own) in examples.iter().zip(several.values.chunks(2)) {
            let crops = crops_of(example).expect("crops");
            let sum = crops.iter().map(|crop| row(crop)[1]).sum::<f32>();
            assert!((own[1] - sum / 5.0).abs() < 1e-3);
        }
        assert!(block_on(over_crops(true, &[], pass)).expect("none").values.is_empty());
    }
}
