//! Truncation of a LoRA update to a lower rank, from the factors alone.
//!
//! `B A = Qb (Rb Ra^T) Qa^T` with `B = Qb Rb` and `A^T = Qa Ra`, so the singular values of the small
//! `C = Rb Ra^T` are those of the update, and keeping the largest is the best approximation of that rank
//! (Eckart and Young). The dense `[out, in]` update is never formed.
//!
//! The right singular vectors V are the eigenvectors of `C^T C`, and `C V` are the left ones times the singular values: V is
//! orthogonal whatever the rank of C is, so that what is kept and what is lost add up. (nalgebra 0.35's own decomposition
//! gives wrong values and vectors of some singular C, and C is singular where an adapter has the weight zero.)

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::module::LoraLayer;
use crate::error::{Error, Result};

/// Sweeps per eigenvalue before the decomposition gives up.
const MAX_SWEEPS: usize = 1_000;

/// An update of lower rank and what it lost.
#[derive(Clone, Debug)]
pub struct Truncated {
    /// The update, with scaling 1.
    pub layer: LoraLayer,
    /// Frobenius norm of the whole update.
    pub norm: f64,
    /// Frobenius norm of what was cut off.
    pub lost: f64,
}

impl Truncated {
    /// Relative Frobenius error; 0 for an update of zero.
    pub fn relative_error(&self) -> f64 {
        if self.norm > 0.0 { self.lost / self.norm } else { 0.0 }
    }
}

/// The rank that [`truncate`] gives: an update has at most that of its factors and widths.
pub fn truncated_rank([full, in_dim, out_dim]: [usize; 3], rank: usize) -> usize {
    rank.min(full).min(in_dim).min(out_dim)
}

/// The best approximation of an update at a rank.
///
/// The square roots of the singular values go to both factors, so that neither dwarfs the other.
///
/// # Errors
/// [`Error::Mismatch`] when the rank is 0, the factors have other sizes than they say, or the
/// decomposition does not converge.
pub fn truncate(layer: &LoraLayer, rank: usize) -> Result<Truncated> {
    let (full, inputs, outputs) = (layer.rank, layer.in_dim, layer.out_dim);
    let kept = truncated_rank([full, inputs, outputs], rank);
    if kept == 0 || layer.a.len() != full * inputs || layer.b.len() != outputs * full {
        return Err(Error::mismatch(
            "svd",
            format!("rank {rank} of factors [{outputs}, {full}] and [{full}, {inputs}]"),
        ));
    }
    // Row-major [R, in] read by column is its transpose [in, R].
    let a_transposed = DMatrix::from_iterator(inputs, full, layer.a.iter().map(|value| f64::from(*value)));
    let b = DMatrix::from_row_iterator(outputs, full, layer.b.iter().map(|value| f64::from(*value)));
    let (a_qr, b_qr) = (a_transposed.qr(), b.qr());
    let core = (b_qr.r() * a_qr.r().transpose()) * f64::from(layer.scaling); // [min(out, R), min(in, R)]
    let sweeps = MAX_SWEEPS.saturating_mul(kept.max(full));
    let right = SymmetricEigen::try_new(core.tr_mul(&core), f64::EPSILON, sweeps)
        .ok_or_else(no_convergence)?
        .eigenvectors;
    let scaled_left = &core * &right; // C V
    let mut order: Vec<(f64, usize)> =
        scaled_left.column_iter().map(|column| column.norm()).zip(0..).collect();
    order.sort_by(|one, other| other.0.total_cmp(&one.0));
    let singular_values: Vec<f64> = order.iter().map(|(value, _)| *value).collect();
    let largest: Vec<usize> = order[..kept].iter().map(|(_, index)| *index).collect();
    let roots = |power: f64| {
        let root = |value: &f64| if *value > 0.0 { value.powf(power) } else { 0.0 };
        DMatrix::from_diagonal(&DVector::from_iterator(kept, singular_values[..kept].iter().map(root)))
    };
    let b = b_qr.q() * scaled_left.select_columns(&largest) * roots(-0.5); // [out, rank]
    let a_transposed = a_qr.q() * right.select_columns(&largest) * roots(0.5); // [in, rank]
    let norm_of = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    Ok(Truncated {
        layer: LoraLayer {
            rank: kept,
            in_dim: inputs,
            out_dim: outputs,
            a: a_transposed.iter().map(|value| *value as f32).collect(),
            b: b.transpose().iter().map(|value| *value as f32).collect(),
            scaling: 1.0,
        },
        norm: norm_of(&singular_values),
        lost: norm_of(&singular_values[kept..]),
    })
}

fn no_convergence() -> Error {
    Error::mismatch("svd", "the decomposition does not converge; use the exact form `cat`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rank: usize, in_dim: usize, out_dim: usize) -> LoraLayer {
        layer_of(rank, in_dim, out_dim, 1.7)
    }

    fn layer_of(rank: usize, in_dim: usize, out_dim: usize, step: f32) -> LoraLayer {
        let value = |index: usize| ((index as f32 + 1.0) * step).sin();
        let a = (0..rank * in_dim).map(value).collect();
        let b = (0..out_dim * rank).map(|index| value(index * 3 + 1)).collect();
        LoraLayer { rank, in_dim, out_dim, a, b, scaling: -0.7 }
    }

    fn distance(one: &LoraLayer, other: &LoraLayer) -> f64 {
        let pairs = one.delta().into_iter().zip(other.delta());
        pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn nothing_is_lost_at_full_rank() -> Result<()> {
        // Ranks below, between and above the widths.
        for (rank, in_dim, out_dim) in [(3, 8, 6), (7, 8, 6), (20, 8, 6), (1, 1, 1), (4, 3, 9)] {
            let layer = layer(rank, in_dim, out_dim);
            let truncated = truncate(&layer, rank)?;
            assert_eq!(truncated.layer.rank, rank.min(in_dim).min(out_dim));
            assert!(distance(&layer, &truncated.layer) < 1e-5 * truncated.norm, "{rank} {in_dim} {out_dim}");
            assert!((f64::from(layer.frobenius_norm()) - truncated.norm).abs() < 1e-5 * truncated.norm);
            assert!(truncated.relative_error() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn the_reported_loss_is_the_distance() -> Result<()> {
        let layer = layer(5, 9, 7);
        let mut last = f64::INFINITY;
        for rank in 1..5 {
            let truncated = truncate(&layer, rank)?;
            assert!((distance(&layer, &truncated.layer) - truncated.lost).abs() < 1e-5 * truncated.norm);
            assert!(truncated.lost < last && truncated.lost > 0.0);
            last = truncated.lost;
        }
        Ok(())
    }

    #[test]
    fn updates_of_a_lower_rank_than_their_factors_lose_what_is_said() -> Result<()> {
        // As in a sum of adapters of which some have the weight zero, were never trained, or are the same.
        let (rank, in_dim, out_dim) = (6, 9, 7);
        for (zeroed, doubled) in
            [(0..2, false), (2..4, false), (4..6, false), (0..5, false), (0..0, true), (1..3, true)]
        {
            for in_a in [true, false] {
                let mut layer = layer(rank, in_dim, out_dim);
                for r in zeroed.clone() {
                    (0..in_dim).filter(|_| in_a).for_each(|column| layer.a[r * in_dim + column] = 0.0);
                    (0..out_dim).filter(|_| !in_a).for_each(|row| layer.b[row * rank + r] = 0.0);
                }
                if doubled {
                    layer.a.copy_within(0..in_dim, 5 * in_dim);
                }
                for kept in 1..=rank {
                    let truncated = truncate(&layer, kept)?;
                    let found = distance(&layer, &truncated.layer);
                    assert!(
                        (found - truncated.lost).abs() < 1e-5 * truncated.norm,
                        "{zeroed:?} {doubled} {in_a} {kept}: {found}"
                    );
                }
                let true_rank = rank - zeroed.len() - usize::from(doubled);
                let truncated = truncate(&layer, true_rank)?;
                assert!(truncated.relative_error() < 1e-7, "{zeroed:?} {doubled} {in_a}");
            }
        }
        Ok(())
    }

    /// nalgebra's decomposition of the core is wrong in 3 % of these.
    #[test]
    fn sums_with_adapters_of_weight_zero_are_right() -> Result<()> {
        for seed in 0..2000 {
            let (rank, in_dim, out_dim) = (2 + seed % 9, 4 + (seed / 9) % 13, 4 + (seed / 117) % 11);
            let zeroed = 1 + seed % (rank - 1);
            let mut layer = layer_of(rank, in_dim, out_dim, 0.37 + seed as f32 * 0.013);
            for (index, value) in layer.b.iter_mut().enumerate() {
                let own = if seed % 2 == 0 { index % rank } else { rank - 1 - index % rank };
                *value = if own < zeroed { 0.0 } else { *value };
            }
            for kept in [1, rank - zeroed] {
                let truncated = truncate(&layer, kept)?;
                let found = distance(&layer, &truncated.layer);
                let wrong = (found - truncated.lost).abs();
                // The second part is for factors whose products cancel, to be summed in single precision.
                assert!(wrong < 1e-5 * truncated.norm + 1e-6, "{seed}, rank {kept}: {found}, {truncated:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn an_update_of_zero_stays_zero() -> Result<()> {
        let mut layer = layer(2, 4, 4);
        layer.b.fill(0.0);
        let truncated = truncate(&layer, 1)?;
        assert_eq!(truncated.relative_error(), 0.0);
        assert!(truncated.layer.delta().iter().all(|value| *value == 0.0));
        Ok(())
    }

    #[test]
    fn impossible_ranks_and_factors_are_errors() {
        assert!(truncate(&layer(2, 4, 4), 0).is_err());
        let mut broken = layer(2, 4, 4);
        broken.a.pop();
        assert!(truncate(&broken, 1).is_err());
    }
}
