//! Passes without gradients: features, accuracy with its interval, confusion.

use burn::tensor::{Device, Tensor, TensorData};

use crate::{
    dataset::{Example, labels},
    device,
    error::{Error, Result},
    head::{Features, Head, views::Views},
    image::preprocess::Preprocess,
    report::Accuracy,
    vit::model::Vit,
};

/// Pooled features of examples: one read-back per batch, which also keeps a browser's GPU queue short.
///
/// # Errors
/// The device was lost, or a feature is not finite.
pub async fn features(
    vit: &Vit,
    examples: &[Example],
    preprocess: &Preprocess,
    device: &Device,
) -> Result<Features> {
    let dim = vit.config.feature_dim();
    let most = device::images_per_pass(device, vit.config.multiplications());
    let size = device::rows(device, examples.len().max(1), most);
    let mut values = Vec::with_capacity(examples.len() * dim);
    for batch in examples.chunks(size) {
        let rows = device::rows(device, batch.len(), size);
        let images = images(batch, rows, preprocess, device);
        let pooled = device::read(vit.forward_pooled(images)).await?;
        for (example, row) in batch.iter().zip(pooled.chunks(dim.max(1))) {
            Error::check_finite(row, &example.name, "features")?;
        }
        values.extend_from_slice(&pooled[..batch.len() * dim]);
        device::breathe(0).await;
    }
    Ok(Features { dim, values, labels: labels(examples) })
}

/// Normalised pixels `[size, 3, H, W]`; rows past the examples are zero.
fn images(examples: &[Example], size: usize, preprocess: &Preprocess, device: &Device) -> Tensor<4> {
    let (height, width) = preprocess.input_size();
    let len = 3 * height * width;
    let mut pixels = vec![0.0; size * len];
    for (example, out) in examples.iter().zip(pixels.chunks_mut(len)) {
        preprocess.normalize(&example.crop, out);
    }
    Tensor::from_data(TensorData::new(pixels, [size, 3, height, width]), device)
}

/// Accuracy of a head on features, with its interval.
pub fn accuracy(head: &Head, features: &Features) -> Accuracy {
    let predicted: Vec<usize> =
        (0..features.labels.len()).map(|index| head.predict(features.row(index))).collect();
    let hits = predicted.iter().zip(&features.labels).filter(|(found, label)| found == label).count();
    Accuracy::new(hits, features.labels.len())
}

/// Counts of (true class, predicted class), `[C][C]`.
pub fn confusion(head: &Head, features: &Features) -> Vec<Vec<usize>> {
    let classes = head.classes();
    let mut counts = vec![vec![0; classes]; classes];
    for (index, &label) in features.labels.iter().enumerate() {
        counts[label][head.predict(features.row(index))] += 1;
    }
    counts
}

/// Held-out predictions of a head that is refitted for every fold.
///
/// `fit` sees the features of the images outside a fold and of their views, fold by fold on all cores. Logits of each fold's
/// images, `[n, C]`.
pub fn held_out_logits(
    features: &Views,
    folds: &[Vec<usize>],
    fit: &(dyn Fn(&Features) -> Head + Sync),
) -> Vec<Vec<f32>> {
    device::parallel(folds.iter().collect(), |fold: &Vec<usize>| {
        let head = fit(&features.without(fold));
        logits(&head, &features.asked().select(fold))
    })
}

/// Logits of a head on features, `[n, C]`.
pub fn logits(head: &Head, features: &Features) -> Vec<f32> {
    (0..features.labels.len()).flat_map(|index| head.logits(features.row(index))).collect()
}

/// Linear centred kernel alignment between two feature sets of the same images, between 0 and 1.
///
/// Kornblith et al. (2019): `|Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|)` on centred columns.
pub fn linear_cka(left: &Features, right: &Features) -> f32 {
    let (left, right) = (centered_gram(left), centered_gram(right));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = (dot(&left, &left) * dot(&right, &right)).sqrt();
    if norm > 0.0 { (dot(&left, &right) / norm) as f32 } else { 0.0 }
}

/// Gram matrix of centred rows, `[n, n]`: |YᵀX|² is the inner product of two such matrices.
fn centered_gram(features: &Features) -> Vec<f64> {
    let count = features.labels.len();
    let mut mean = vec![0.0f64; features.dim];
    for row in features.values.chunks(features.dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / count as f64);
    }
    let centered =
        |row: usize| features.row(row).iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean);
    let rows: Vec<Vec<f64>> = (0..count).map(|row| centered(row).collect()).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    rows.iter().flat_map(|a| rows.iter().map(|b| product(a, b)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_is_not_seen() {
        let values: Vec<f32> = (0..6).map(|index| index as f32).collect();
        let features = Views::none(Features { dim: 1, values, labels: vec![0, 1, 0, 1, 0, 1] });
        let folds = [vec![0, 3], vec![1, 4], vec![2, 5]];
        let seen = std::sync::Mutex::new(Vec::new());
        let fit = |rest: &Features| {
            seen.lock().expect("no panic").push(rest.values.clone());
            Head::nearest_mean(rest, 2)
        };
        assert_eq!(held_out_logits(&features, &folds, &fit).len(), folds.len());
        let mut seen = seen.into_inner().expect("no panic");
        // Cores finish in any order.
        seen.sort_by(|left, right| right[0].total_cmp(&left[0]).then(right[1].total_cmp(&left[1])));
        assert_eq!(seen, [[1.0, 2.0, 4.0, 5.0], [0.0, 2.0, 3.0, 5.0], [0.0, 1.0, 3.0, 4.0]]);
    }

    fn features(values: &[f32]) -> Features {
        Features { dim: 2, values: values.to_vec(), labels: vec![0, 0, 1] }
    }

    #[test]
    fn cka_ignores_rotation_and_scale_but_not_content() {
        let x = features(&[1.0, 0.0, 0.0, 2.0, -1.0, 1.0]);
        let rotated = features(&[0.0, 3.0, -6.0, 0.0, -3.0, -3.0]);
        let other = features(&[1.0, 0.0, -1.0, 0.5, 0.2, 0.1]);
        assert!((linear_cka(&x, &rotated) - 1.0).abs() < 1e-5);
        assert!(linear_cka(&x, &other) < 0.95);
    }

    #[test]
    fn confusion_counts_every_example_once() {
        let x = features(&[1.0, 0.0, 2.0, 0.0, 0.0, 1.0]);
        let head = Head::nearest_mean(&x, 2);
        assert_eq!(confusion(&head, &x), vec![vec![2, 0], vec![0, 1]]);
        assert_eq!(accuracy(&head, &x).correct, 3);
    }
}
