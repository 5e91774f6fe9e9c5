//! A teacher that sees what the student sees: its tokens, its features, and what its head says of them.
//!
//! The teacher looks at the very crop that the student looks at ("a patient and consistent teacher", Beyer et al., 2022),
//! enlarged to its own input. Where it cuts the crop into other patches, their tokens are averaged over the student's. So
//! every token of the student has a counterpart: hidden states are matched block by block (FitNets, Romero et al., 2015),
//! after standardising each token, and the student's pooled features are read by the teacher's head (Hinton et al., 2015).

use burn::tensor::{Device, FloatDType, Tensor, TensorData, activation::softmax};

use crate::{
    device::OpenDevice,
    error::{Error, Result},
    head::Head,
    image::preprocess::Preprocess,
    session::Model,
    train::parameters::cross_entropy,
    vit::{
        config::VitConfig,
        model::{HeadTensors, Vit},
    },
};

/// Every so many blocks of the student one hidden state is matched.
const MATCH_EVERY: usize = 2;

/// A frozen model that teaches.
pub struct Teacher {
    vit: Vit,
    head: HeadTensors,
    /// From pictures to the teacher's input.
    pub preprocess: Preprocess,
    /// (block of the student, block of the teacher), counted from 0.
    pairs: Vec<(usize, usize)>,
    /// From the teacher's tokens to the student's, `[1, T, T']`; absent where they are the same.
    regrid: Option<Tensor<3>>,
}

/// What the teacher says of one batch.
pub struct Lesson {
    hidden: Vec<Tensor<3>>,
    features: Tensor<2>,
    probabilities: Tensor<2>,
}

/// The two losses of a lesson, each `[1]`.
pub struct TeacherLoss {
    /// Cross-entropy of the teacher's head on the student's features with what it says of the teacher's.
    pub soft_labels: Tensor<1>,
    /// Sum of the mean squared differences of standardised tokens and features.
    pub hidden: Tensor<1>,
}

impl Teacher {
    /// Side of the teacher's input that gives it the student's grid of patches, in pixels: the cheapest one.
    pub fn img_size(teacher: &VitConfig, student: &VitConfig) -> usize {
        student.grid().0 * teacher.patch_size.0
    }

    /// A teacher of a student; `model` was opened at [`Teacher::img_size`] or at another size, which it sees more at.
    ///
    /// # Errors
    /// The two differ in width or special tokens, or the model has no head.
    pub fn new(model: &Model, student: &VitConfig, device: &OpenDevice) -> Result<Self> {
        let (own, name) = (&model.vit.config, format!("teacher {}", model.name));
        let shape = |config: &VitConfig| (config.embed_dim, config.num_prefix_tokens, config.feature_dim());
        if shape(own) != shape(student) {
            let reason = format!(
                "width {}, {} prefix token(s) and {} features; the student's {}, {} and {} must be the same",
                own.embed_dim,
                own.num_prefix_tokens,
                own.feature_dim(),
                student.embed_dim,
                student.num_prefix_tokens,
                student.feature_dim()
            );
            return Err(Error::mismatch(name, reason));
        }
        let head: &Head =
            model.head.as_ref().ok_or_else(|| Error::mismatch(name, "it has no classification head"))?;
        Ok(Self {
            head: head.to_tensors(&device.plain),
            preprocess: model.preprocess.clone(),
            pairs: pairs(student.depth, own.depth),
            regrid: (own.grid() != student.grid())
                .then(|| regrid(own.grid(), student.grid(), own.num_prefix_tokens, &device.plain)),
            vit: model.vit.clone(),
        })
    }

    /// The same teacher with large matrix products in another precision.
    pub fn with_matmul_in(mut self, precision: FloatDType) -> Self {
        self.vit = self.vit.with_matmul_in(precision);
        self
    }

    /// What the teacher says of images of its own size.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    pub fn lesson(&self, images: Tensor<4>) -> Lesson {
        let states = self.vit.hidden_states(self.vit.embed(images));
        let features = self.features(&self.vit, &states);
        Lesson {
            hidden: self.pairs.iter().map(|&(_, own)| self.counterparts(states[own].clone())).collect(),
            probabilities: softmax(self.head.forward(features.clone()), 1),
            features,
        }
    }

    /// How far a student's hidden states are from a lesson.
    pub fn loss(&self, student: &[Tensor<3>], features: Tensor<2>, lesson: Lesson) -> TeacherLoss {
        let soft_labels = cross_entropy(self.head.forward(features.clone()), lesson.probabilities);
        let wide = |features: Tensor<2>| standardized(features.unsqueeze_dim(1));
        let last = distance(wide(features), wide(lesson.features));
        let hidden = self.pairs.iter().zip(lesson.hidden).fold(last, |sum, (&(block, _), target)| {
            sum + distance(standardized(student[block].clone()), target)
        });
        TeacherLoss { soft_labels, hidden }
    }

    /// One standardised token per token of the student.
    fn counterparts(&self, tokens: Tensor<3>) -> Tensor<3> {
        standardized(match &self.regrid {
            Some(regrid) => regrid.clone().matmul(tokens),
            None => tokens,
        })
    }

    fn features(&self, vit: &Vit, states: &[Tensor<3>]) -> Tensor<2> {
        vit.pool(vit.final_norm(states[states.len() - 1].clone()))
    }
}

/// Blocks whose outputs are matched: as deep in the one as in the other, relative to their depths. The last blocks are
/// left to the features: what they make of the patches, no head reads.
fn pairs(student: usize, teacher: usize) -> Vec<(usize, usize)> {
    (1..student)
        .filter(|block| block.is_multiple_of(MATCH_EVERY))
        .map(|block| (block - 1, (block * teacher).div_ceil(student).max(1) - 1))
        .collect()
}

/// The matrix `[1, T, T']` that keeps special tokens and averages patches of one grid over those of another, as
/// `adaptive_avg_pool2d` does: over all that a patch touches.
fn regrid(from: (usize, usize), to: (usize, usize), prefix: usize, device: &Device) -> Tensor<3> {
    let span = |index: usize, from: usize, to: usize| (index * from / to)..((index + 1) * from).div_ceil(to);
    let (rows, columns) = (prefix + to.0 * to.1, prefix + from.0 * from.1);
    let mut values = vec![0.0f32; rows * columns];
    (0..prefix).for_each(|token| values[token * columns + token] = 1.0);
    for (row, column) in (0..to.0).flat_map(|row| (0..to.1).map(move |column| (row, column))) {
        let (down, across) = (span(row, from.0, to.0), span(column, from.1, to.1));
        let share = 1.0 / (down.len() * across.len()) as f32;
        let start = (prefix + row * to.1 + column) * columns + prefix;
        for patch in down.flat_map(|down| across.clone().map(move |across| down * from.1 + across)) {
            values[start + patch] = share;
        }
    }
    Tensor::from_data(TensorData::new(values, [1, rows, columns]), device)
}

/// Every token with mean 0 and variance 1 over its channels, `[B, T, D]`.
fn standardized(tokens: Tensor<3>) -> Tensor<3> {
    let centered = tokens.clone() - tokens.mean_dim(2);
    let variance = centered.clone().square().mean_dim(2);
    centered / (variance + 1e-6).sqrt()
}

fn distance(left: Tensor<3>, right: Tensor<3>) -> Tensor<1> {
    (left - right).square().mean()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_matched_at_the_same_relative_depth() {
        assert_eq!(pairs(8, 12), [(1, 2), (3, 5), (5, 8)]);
        assert_eq!(pairs(12, 12), [(1, 1), (3, 3), (5, 5), (7, 7), (9, 9)]);
        assert_eq!(pairs(2, 4), []);
    }

    #[test]
    fn patches_are_averaged_over_the_students_grid() {
        let values = |from, to| -> Vec<f32> {
            let matrix = regrid(from, to, 1, &OpenDevice::cpu().plain);
            crate::block_on(crate::device::read(matrix)).expect("reads back")
        };
        // A class token and 1 x 3 patches: the one in the middle belongs to both.
        assert_eq!(values((1, 3), (1, 2)), [1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5]);
        let (rows, columns) = (1 + 64, 1 + 196);
        let matrix = values((14, 14), (8, 8));
        assert_eq!(matrix.len(), rows * columns);
        assert!(matrix.chunks(columns).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn scale_and_shift_of_a_token_do_not_matter() {
        let tokens = Tensor::<3>::from_data([[[1.0, 2.0, 4.0], [0.0, 1.0, -1.0]]], &OpenDevice::cpu().plain);
        let moved = tokens.clone() * 3.0 + 5.0;
        let gap = distance(standardized(tokens), standardized(moved));
        let values = crate::block_on(crate::device::read(gap)).expect("reads back");
        assert!(values[0] < 1e-6, "{values:?}");
    }
}
