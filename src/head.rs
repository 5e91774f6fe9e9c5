//! Linear heads on feature vectors, fitted on the host: nearest class mean and logistic regression.
//!
//! Features of a frozen pass are read back once; everything here is plain arithmetic on them, so it
//! is deterministic and costs no GPU round trip.

pub mod class_sums;
mod logistic;
pub mod temperature;
pub mod views;

use burn::tensor::{Device, Tensor, TensorData};

use self::class_sums::ClassSums;
use crate::vit::model::HeadTensors;

/// A linear classification head: `logits = weight · features + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Number of features F.
    pub features: usize,
    /// Weight, `[C, F]`, PyTorch's layout.
    pub weight: Vec<f32>,
    /// Bias, `[C]`.
    pub bias: Vec<f32>,
}

/// Labelled feature vectors.
#[derive(Clone, Debug)]
pub struct Features {
    /// Number of features F.
    pub dim: usize,
    /// Values, `[n, F]`.
    pub values: Vec<f32>,
    /// Class of each row.
    pub labels: Vec<usize>,
}

/// L2 penalty of [`Head::logistic`], on the weights of features whose mean squared length is 1.
///
/// The best of 1e-2 to 1e-6 for linear probes on six upstream tasks, which are compared nowhere, at every number of shots
/// (docs/experiment.md). A larger one holds back heads of many classes, whatever the number of images.
pub const DEFAULT_L2: f32 = 1e-4;

impl Features {
    /// Row `index`, `[F]`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// The rows at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            dim: self.dim,
            values: indices.iter().flat_map(|&index| self.row(index)).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        }
    }

    /// All rows but those at some indices.
    pub fn without(&self, fold: &[usize]) -> Self {
        let rest: Vec<usize> = (0..self.labels.len()).filter(|index| !fold.contains(index)).collect();
        self.select(&rest)
    }

    /// Mean of all rows, `[F]`.
    fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0; self.dim];
        for index in 0..self.labels.len() {
            add(&mut mean, self.row(index), 1.0 / self.labels.len() as f32);
        }
        mean
    }
}

impl Head {
    /// A head of zeros.
    pub fn zeros(classes: usize, features: usize) -> Self {
        Self { features, weight: vec![0.0; classes * features], bias: vec![0.0; classes] }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Number of values in weight and bias.
    pub fn num_parameters(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// Logits of one feature vector, `[C]`.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks(self.features.max(1)).zip(&self.bias);
        rows.map(|(row, bias)| dot(row, features) + bias).collect()
    }

    /// Class with the highest logit.
    pub fn predict(&self, features: &[f32]) -> usize {
        argmax(&self.logits(features))
    }

    /// The nearest-class-mean classifier as a linear head.
    ///
    /// With class means μ_c and their centre m, `logit_c = s (x - m)·(μ_c - m) - s |μ_c - m|² / 2`,
    /// whose argmax is the class with the nearest mean. Linear in x, so training can start from it.
    /// A class without examples gets the centre: a logit of zero.
    pub fn nearest_mean(features: &Features, classes: usize) -> Self {
        ClassSums::new(features, classes).head()
    }

    /// L2-regularised multinomial logistic regression.
    ///
    /// Minimises the mean cross-entropy plus `l2 / 2 |weight|²` on features that are centred and scaled to a mean squared
    /// length of 1 first, so that `l2` means the same for every model; the scaling is folded back into the head.
    pub fn logistic(features: &Features, classes: usize, l2: f32) -> Self {
        let center = features.mean();
        let scaled = normalized(features, &center);
        logistic::fit(&scaled.features, classes, l2).unscale(&center, scaled.scale)
    }

    /// The head on raw features whose output equals this one's on `scale * (x - center)`.
    fn unscale(mut self, center: &[f32], scale: f32) -> Self {
        self.weight.iter_mut().for_each(|value| *value *= scale);
        for (row, bias) in self.weight.chunks(self.features).zip(&mut self.bias) {
            *bias -= dot(row, center);
        }
        self
    }

    /// Moves the head to a device.
    pub fn to_tensors(&self, device: &Device) -> HeadTensors {
        let classes = self.classes();
        let weight = TensorData::new(self.weight.clone(), [classes, self.features]);
        let bias = TensorData::new(self.bias.clone(), [1, classes]);
        HeadTensors {
            weight: Tensor::<2>::from_data(weight, device).transpose(),
            bias: Tensor::from_data(bias, device),
        }
    }
}

struct Normalized {
    features: Features,
    scale: f32,
}

fn normalized(features: &Features, center: &[f32]) -> Normalized {
    let mut features = features.clone();
    for row in features.values.chunks_mut(center.len().max(1)) {
        add(row, center, -1.0);
    }
    let mean_square = dot(&features.values, &features.values) / features.labels.len().max(1) as f32;
    let scale = mean_square.max(1e-12).sqrt().recip();
    features.values.iter_mut().for_each(|value| *value *= scale);
    Normalized { features, scale }
}

/// Softmax of logits, shifted by their maximum so that it cannot overflow.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// Index of the largest value; the first one on a tie.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn add(target: &mut [f32], source: &[f32], factor: f32) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target += factor * source);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters() -> Features {
        let values = vec![2.0, 0.1, 1.8, -0.1, 0.0, 3.0, 0.2, 2.6, -4.0, -4.0];
        Features { dim: 2, values, labels: vec![0, 0, 1, 1, 2] }
    }

    #[test]
    fn nearest_mean_predicts_the_class_with_the_nearest_mean() {
        let head = Head::nearest_mean(&clusters(), 3);
        let means = [[1.9, 0.0], [0.1, 2.8], [-4.0, -4.0]];
        for x in [[1.0, 1.0], [-1.0, 0.5], [-3.0, 0.0], [0.9, 1.5], [5.0, 5.0]] {
            let distance = |mean: &[f32; 2]| -((x[0] - mean[0]).powi(2) + (x[1] - mean[1]).powi(2));
            let nearest = argmax(&means.iter().map(distance).collect::<Vec<_>>());
            assert_eq!(head.predict(&x), nearest, "{x:?}");
        }
    }

    #[test]
    fn a_class_without_examples_is_allowed() {
        let features = Features { dim: 2, values: vec![1.0, 0.0, 0.0, 1.0], labels: vec![0, 2] };
        let head = Head::nearest_mean(&features, 3);
        assert_eq!([head.predict(&[1.0, 0.0]), head.predict(&[0.0, 1.0])], [0, 2]);
        assert!(head.weight.iter().chain(&head.bias).all(|value| value.is_finite()));
        let head = Head::logistic(&features, 3, 0.1);
        assert_eq!([head.predict(&[1.0, 0.0]), head.predict(&[0.0, 1.0])], [0, 2]);
    }

    #[test]
    fn logistic_regression_follows_a_shift_and_a_scale_of_its_features() {
        let features = clusters();
        let values = features.values.iter().map(|value| 30.0 * value - 7.0).collect();
        let moved = Features { values, ..features.clone() };
        let (head, of_moved) = (Head::logistic(&features, 3, 0.1), Head::logistic(&moved, 3, 0.1));
        for row in 0..5 {
            let both = head.logits(features.row(row)).into_iter().zip(of_moved.logits(moved.row(row)));
            both.for_each(|(own, other)| assert!((own - other).abs() < 1e-3, "{own} {other}"));
        }
    }
}
