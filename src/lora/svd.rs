//! Truncation of a LoRA update to a lower rank, from the factors alone.
//!
//! `B A = Qb (Rb Ra^T) Qa^T` with `B = Qb Rb` and `A^T = Qa Ra`, so the singular values of the small
//! `Rb Ra^T` are those of the update, and keeping the largest is the best approximation of that rank
//! (Eckart and Young). The dense `[out, in]` update is never formed.

use nalgebra::DMatrix;

use super::module::LoraLayer;
use crate::error::{Error, Result};

/// Sweeps per singular value before the decomposition gives up.
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
    let svd = core.try_svd(true, true, f64::EPSILON, sweeps).ok_or_else(no_convergence)?;
    let (left, right) = (svd.u.ok_or_else(no_convergence)?, svd.v_t.ok_or_else(no_convergence)?);
    let roots = DMatrix::from_diagonal(&svd.singular_values.rows(0, kept).map(f64::sqrt));
    let b = b_qr.q() * left.columns(0, kept) * &roots; // [out, rank]
    let a_transposed = a_qr.q() * right.rows(0, kept).transpose() * &roots; // [in, rank]
    let norm_of = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let singular_values = svd.singular_values.as_slice();
    Ok(Truncated {
        layer: LoraLayer {
            rank: kept,
            in_dim: inputs,
            out_dim: outputs,
            a: a_transposed.iter().map(|value| *value as f32).collect(),
            b: b.transpose().iter().map(|value| *value as f32).collect(),
            scaling: 1.0,
        },
        norm: norm_of(singular_values),
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
        let value = |index: usize| ((index as f32 + 1.0) * 1.7).sin();
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
