//! Weighted sums of modules as one module: factors concatenated, exact, ranks add up.

use std::collections::BTreeMap;

use super::{
    library::LayerKey,
    module::{LoraLayer, LoraModule},
};

/// Updates per linear layer.
pub type Updates = BTreeMap<LayerKey, LoraLayer>;

/// The weighted sum of modules; `weights` gives one weight per module for a layer. What has the weight zero takes no rank.
pub fn weighted_sum(
    modules: &[LoraModule],
    keys: &[LayerKey],
    weights: impl Fn(usize) -> Vec<f32>,
) -> Updates {
    let mut updates = Updates::new();
    for (index, key) in keys.iter().enumerate() {
        let weights = weights(index);
        let parts = modules.iter().zip(weights);
        let parts: Vec<_> = parts
            .filter(|(_, weight)| *weight != 0.0)
            .filter_map(|(module, weight)| Some((f64::from(weight), module.layers.get(key)?)))
            .collect();
        if !parts.is_empty() {
            updates.insert(*key, LoraLayer::joined(&parts));
        }
    }
    updates
}

/// The sum of two sets of updates.
pub fn sum(left: Updates, right: Updates) -> Updates {
    let mut total = left;
    for (key, layer) in right {
        let joined = match total.remove(&key) {
            Some(existing) => LoraLayer::joined(&[(1.0, &existing), (1.0, &layer)]),
            None => layer,
        };
        total.insert(key, joined);
    }
    total
}
