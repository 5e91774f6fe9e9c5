//! Modules of noise with the norms of real ones: the control that tells transfer from regularisation.

use crate::random::{self, Purpose};

use super::module::{LoraLayer, LoraModule};

/// Replaces every module's factors by Gaussian ones whose update has the same Frobenius norm, layer
/// by layer. Names get the suffix ` (random)`.
pub fn randomized(modules: &[LoraModule], seed: u64) -> Vec<LoraModule> {
    let mut rng = random::stream(seed, Purpose::Modules);
    let mut normal = |count: usize| (0..count).map(|_| random::normal(&mut rng)).collect::<Vec<f32>>();
    modules
        .iter()
        .map(|module| {
            let mut noise = module.clone();
            noise.name = format!("{} (random)", module.name);
            for layer in noise.layers.values_mut() {
                let norm = layer.frobenius_norm();
                layer.a = normal(layer.a.len());
                layer.b = normal(layer.b.len());
                rescale(layer, norm);
            }
            noise
        })
        .collect()
}

/// Scales `b` so that the update gets the norm asked for.
fn rescale(layer: &mut LoraLayer, norm: f32) {
    let found = layer.frobenius_norm();
    let factor = if found > 0.0 { norm / found } else { 0.0 };
    layer.b.iter_mut().for_each(|value| *value *= factor);
}
