//! One LoRA module in memory: plain numbers in PEFT's layout.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result},
    vit::target::Target,
};

/// The update of one linear layer, `dW = scaling * B A`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraLayer {
    /// Rank r.
    pub rank: usize,
    /// Input width of the linear layer.
    pub in_dim: usize,
    /// Output width of the linear layer.
    pub out_dim: usize,
    /// `A`, `[rank, in]`.
    pub a: Vec<f32>,
    /// `B`, `[out, rank]`.
    pub b: Vec<f32>,
    /// `alpha / rank`, or `alpha / sqrt(rank)` for rsLoRA.
    pub scaling: f32,
}

impl LoraLayer {
    /// The dense update.
    ///
    /// # Shapes
    /// - output: `[out, in]`
    pub fn delta(&self) -> Vec<f32> {
        let mut delta = vec![0.0; self.out_dim * self.in_dim];
        if self.rank == 0 || self.in_dim == 0 {
            return delta;
        }
        for (row, coefficients) in delta.chunks_exact_mut(self.in_dim).zip(self.b.chunks_exact(self.rank)) {
            for (coefficient, direction) in coefficients.iter().zip(self.a.chunks_exact(self.in_dim)) {
                let coefficient = coefficient * self.scaling;
                row.iter_mut().zip(direction).for_each(|(sum, value)| *sum += coefficient * value);
            }
        }
        delta
    }

    /// Frobenius norm of the update, from the factors alone:
    /// `|B A|^2 = trace((B^T B) (A A^T))`.
    pub fn frobenius_norm(&self) -> f32 {
        let mut squared = 0.0;
        for i in 0..self.rank {
            for j in 0..self.rank {
                let (row_i, row_j) = (self.a_row(i), self.a_row(j));
                let gram_a: f64 = row_i.zip(row_j).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                let (column_i, column_j) = (self.b_column(i), self.b_column(j));
                let gram_b: f64 = column_i.zip(column_j).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                squared += gram_a * gram_b;
            }
        }
        // Rounding can leave a tiny negative number where the update is zero.
        (squared.max(0.0).sqrt() * f64::from(self.scaling.abs())) as f32
    }

    /// The exact weighted sum of updates of one linear layer, whose widths agree; empty without parts.
    ///
    /// `A` factors are stacked with weight and scaling folded in, `B` factors are side by side: ranks add up and the
    /// scaling is 1 (PEFT's `cat`).
    pub(super) fn joined(parts: &[(f64, &LoraLayer)]) -> Self {
        let (in_dim, out_dim) = parts.first().map_or((0, 0), |(_, first)| (first.in_dim, first.out_dim));
        let folded = |&(weight, part): &(f64, &LoraLayer)| {
            let factor = weight * f64::from(part.scaling);
            part.a.iter().map(|value| (f64::from(*value) * factor) as f32).collect::<Vec<_>>()
        };
        let b_row = |row: usize| parts.iter().flat_map(move |(_, part)| part.b_row(row).iter().copied());
        Self {
            rank: parts.iter().map(|(_, part)| part.rank).sum(),
            in_dim,
            out_dim,
            a: parts.iter().flat_map(folded).collect(),
            b: (0..out_dim).flat_map(b_row).collect(),
            scaling: 1.0,
        }
    }

    fn a_row(&self, row: usize) -> impl Iterator<Item = &f32> {
        self.a.iter().skip(row * self.in_dim).take(self.in_dim)
    }

    fn b_column(&self, column: usize) -> impl Iterator<Item = &f32> {
        self.b.iter().skip(column).step_by(self.rank)
    }

    fn b_row(&self, row: usize) -> &[f32] {
        self.b.get(row * self.rank..(row + 1) * self.rank).unwrap_or_default()
    }
}

/// The classification head that was trained and saved with a module.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedHead {
    /// Number of classes C.
    pub classes: usize,
    /// Feature width D.
    pub dim: usize,
    /// `[C, D]`.
    pub weight: Vec<f32>,
    /// `[C]`.
    pub bias: Vec<f32>,
}

impl SavedHead {
    /// Heads for `count` equal parts of the features whose mean is this one.
    pub fn split(&self, count: usize) -> Vec<Self> {
        let dim = self.dim / count.max(1);
        let part = |index: usize| {
            let rows = self.weight.chunks(self.dim.max(1));
            let own = rows.flat_map(|row| row.iter().skip(index * dim).take(dim));
            let weight = own.map(|value| count as f32 * value).collect();
            Self { classes: self.classes, dim, weight, bias: self.bias.clone() }
        };
        (0..count).map(part).collect()
    }

    /// One head for the features of all heads joined, whose logits are the mean of theirs; `None` without heads.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when they have other classes or widths; `name` is in the message.
    pub fn mean(name: &str, heads: Vec<Self>) -> Result<Option<Self>> {
        let Some(first) = heads.first() else { return Ok(None) };
        let (classes, dim) = (first.classes, first.dim);
        if heads.iter().any(|head| (head.classes, head.dim) != (classes, dim)) {
            return Err(Error::mismatch(name, "its two heads have different sizes; save it again"));
        }
        let share = 1.0 / heads.len() as f32;
        let row = |class: usize| {
            let rows = heads.iter().flat_map(move |head| head.weight.iter().skip(class * dim).take(dim));
            rows.map(|value| share * value)
        };
        let bias = |class: usize| heads.iter().map(|head| share * head.bias[class]).sum();
        Ok(Some(Self {
            classes,
            dim: dim * heads.len(),
            weight: (0..classes).flat_map(row).collect(),
            bias: (0..classes).map(bias).collect(),
        }))
    }
}

/// One upstream module: updates of linear layers and perhaps a head.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraModule {
    /// Name shown to people: the folder's.
    pub name: String,
    /// Updates by block index and target.
    pub layers: BTreeMap<(usize, Target), LoraLayer>,
    /// Head saved with the module.
    pub head: Option<SavedHead>,
    /// The base model it was trained on, as the file says.
    pub base_model: Option<String>,
}

impl LoraModule {
    /// Whether every update is zero.
    pub fn changes_nothing(&self) -> bool {
        self.layers.values().all(|layer| layer.frobenius_norm() == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rank: usize, scaling: f32, seed: usize) -> LoraLayer {
        let value = |index: usize| ((index * 7 + seed * 13) % 11) as f32 - 5.0;
        let a = (0..rank * 3).map(value).collect();
        let b = (0..2 * rank).map(|index| value(index + 5)).collect();
        LoraLayer { rank, in_dim: 3, out_dim: 2, a, b, scaling }
    }

    #[test]
    fn delta_is_scaled_b_times_a() {
        let layer = LoraLayer {
            rank: 1,
            in_dim: 3,
            out_dim: 2,
            a: vec![1.0, 2.0, 3.0],
            b: vec![10.0, -1.0],
            scaling: 0.5,
        };
        assert_eq!(layer.delta(), [5.0, 10.0, 15.0, -0.5, -1.0, -1.5]);
    }

    #[test]
    fn the_norm_of_the_factors_is_the_norm_of_the_delta() {
        for rank in 0..4 {
            let layer = layer(rank, -1.5, rank);
            let dense = layer.delta().iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!((layer.frobenius_norm() - dense).abs() <= 1e-5 * dense, "rank {rank}");
        }
    }

    #[test]
    fn joined_factors_are_the_weighted_sum() {
        let layers = [layer(2, 2.0, 1), layer(1, 0.5, 2), layer(3, 1.0, 3)];
        let parts = [(0.25, &layers[0]), (-3.0, &layers[1]), (0.0, &layers[2])];
        let sum = LoraLayer::joined(&parts);
        assert_eq!((sum.rank, sum.scaling), (6, 1.0));
        for (index, value) in sum.delta().iter().enumerate() {
            let expected: f64 =
                parts.iter().map(|(weight, part)| weight * f64::from(part.delta()[index])).sum();
            assert!((f64::from(*value) - expected).abs() < 1e-4, "{value} {expected}");
        }
        assert_eq!(LoraLayer::joined(&[]).rank, 0);
    }
}
