//! Weighted sums of modules as one module: factors concatenated, exact, ranks add up.

use std::collections::BTreeMap;

use super::{
    library::LayerKey,
    module::{LoraLayer, LoraModule},
};

/// Updates per linear layer.
pub type Updates = BTreeMap<LayerKey, LoraLayer>;

/// Concatenates weighted layers that touch the same linear layer: `[w1 s1 B1, w2 s2 B2] [A1; A2]`.
///
/// The result has a scaling of 1. Parts must agree in widths, as parts of one model do.
pub fn cat(parts: &[(f32, &LoraLayer)]) -> LoraLayer {
    let (in_dim, out_dim) = parts.first().map_or((0, 0), |(_, layer)| (layer.in_dim, layer.out_dim));
    let rank = parts.iter().map(|(_, layer)| layer.rank).sum();
    let a = parts.iter().flat_map(|(_, layer)| layer.a.iter().copied()).collect();
    let mut b = Vec::with_capacity(out_dim * rank);
    for row in 0..out_dim {
        for (weight, layer) in parts {
            let values = &layer.b[row * layer.rank..(row + 1) * layer.rank];
            b.extend(values.iter().map(|value| weight * layer.scaling * value));
        }
    }
    LoraLayer { rank, in_dim, out_dim, a, b, scaling: 1.0 }
}

/// The weighted sum of modules; `weights` gives one weight per module for a layer.
pub fn weighted_sum(modules: &[LoraModule], keys: &[LayerKey], weights: impl Fn(usize) -> Vec<f32>) -> Updates {
    let mut updates = Updates::new();
    for (index, key) in keys.iter().enumerate() {
        let weights = weights(index);
        let parts = modules.iter().zip(weights);
        let parts: Vec<_> =
            parts.filter_map(|(module, weight)| Some((weight, module.layers.get(key)?))).collect();
        if !parts.is_empty() {
            updates.insert(*key, cat(&parts));
        }
    }
    updates
}

/// The sum of two sets of updates.
pub fn sum(left: Updates, right: Updates) -> Updates {
    let mut total = left;
    for (key, layer) in right {
        let joined = match total.remove(&key) {
            Some(existing) => cat(&[(1.0, &existing), (1.0, &layer)]),
            None => layer,
        };
        total.insert(key, joined);
    }
    total
}
