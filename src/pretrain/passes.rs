//! Passes over photos without gradients, and the two figures of a base model.

use burn::tensor::Tensor;

use super::photos::Photo;
use crate::{
    dataset::Example,
    device::{self, OpenDevice},
    error::Result,
    evaluate,
    head::{Features, Head},
    image::preprocess::Preprocess,
    random::{self, Purpose},
    vit::model::Vit,
};

/// Query images per class of an episode.
const QUERIES: usize = 15;

/// Photos that are decoded and passed through together.
const CHUNK: usize = 512;

/// Pooled features of photos; `None` if `on_progress`, which hears how many are done, says not to go on.
///
/// # Errors
/// An image cannot be read, or the device was lost.
pub async fn features(
    vit: &Vit,
    preprocess: &Preprocess,
    photos: &[Photo],
    device: &OpenDevice,
    on_progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Features>> {
    let mut all = Features { dim: vit.config.feature_dim(), values: Vec::new(), labels: Vec::new() };
    for (index, chunk) in photos.chunks(CHUNK).enumerate() {
        let crop = |photo: &Photo| -> Result<Example> {
            let crop = preprocess.crop(&photo.picture()?)?;
            Ok(Example { name: photo.name.clone(), class: photo.class, crop })
        };
        let examples =
            device::parallel(chunk.iter().collect(), crop).into_iter().collect::<Result<Vec<_>>>()?;
        let part = evaluate::features(vit, &examples, preprocess, &device.plain).await?;
        all.values.extend(part.values);
        all.labels.extend(part.labels);
        if !on_progress((index * CHUNK + chunk.len()).min(photos.len())) {
            return Ok(None);
        }
    }
    Ok(Some(all))
}

/// Mean accuracy of nearest class means over episodes of `ways` classes with `shots` images each, 15 queries per
/// class, and the half width of its 95 % interval (Snell et al., 2017). `None` when there are too few classes with
/// `shots + 15` images.
pub fn few_shot_accuracy(
    features: &Features,
    ways: usize,
    shots: usize,
    episodes: usize,
    seed: u64,
) -> Option<(f64, f64)> {
    let classes = features.labels.iter().max().map_or(0, |last| last + 1);
    let mut by_class = vec![Vec::new(); classes];
    features.labels.iter().enumerate().for_each(|(row, &class)| by_class[class].push(row));
    by_class.retain(|rows| rows.len() >= shots + QUERIES);
    if by_class.len() < ways || episodes == 0 {
        return None;
    }
    let mut rng = random::stream(seed, Purpose::Episodes);
    let mut accuracies = Vec::with_capacity(episodes);
    for _ in 0..episodes {
        random::shuffle(&mut rng, &mut by_class);
        let (mut support, mut query) = (Vec::new(), Vec::new());
        let mut labels = (Vec::new(), Vec::new());
        for (class, rows) in by_class.iter_mut().take(ways).enumerate() {
            random::shuffle(&mut rng, rows);
            support.extend_from_slice(&rows[..shots]);
            query.extend_from_slice(&rows[shots..shots + QUERIES]);
            labels.0.extend(vec![class; shots]);
            labels.1.extend(vec![class; QUERIES]);
        }
        let support = Features { labels: labels.0, ..features.select(&support) };
        let query = Features { labels: labels.1, ..features.select(&query) };
        accuracies.push(evaluate::accuracy(&Head::nearest_mean(&support, ways), &query).value);
    }
    let count = accuracies.len() as f64;
    let mean = accuracies.iter().sum::<f64>() / count;
    let variance =
        accuracies.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Some((mean, 1.96 * (variance / count).sqrt()))
}

/// Reads a head from its two tensors, weight `[F, C]` and bias `[1, C]`.
///
/// # Errors
/// The device was lost.
pub async fn read_head(weight: &Tensor<2>, bias: &Tensor<2>) -> Result<Head> {
    let [features, _] = weight.dims();
    let weight = device::read(weight.clone().transpose()).await?;
    Ok(Head { features, weight, bias: device::read(bias.clone()).await? })
}
