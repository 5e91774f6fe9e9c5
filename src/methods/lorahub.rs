//! LoraHub (Huang et al., 2023): one signed weight per module, found without gradients.
//!
//! Factors are combined separately, `(sum w_n A_n)(sum w_n B_n)`, so cross terms appear and all
//! modules need the same rank. Weights are bounded to ±1.5 and start at 0; the objective is the
//! few-shot loss plus 0.05 times the mean absolute weight, within 40 evaluations. The paper searches
//! with Nevergrad; here a (1+1) evolution strategy with the one-fifth success rule does (Rechenberg).

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;

use crate::{
    error::{Error, Result},
    lora::{
        cat::Updates,
        library::LayerKey,
        module::{LoraLayer, LoraModule},
    },
    random::{self, Purpose},
};

/// Evaluations of the objective.
pub const BUDGET: usize = 40;
/// Largest absolute weight.
const BOUND: f32 = 1.5;
/// Strength of the L1 penalty on the mean absolute weight.
const L1: f32 = 0.05;

/// The factors' weighted sums, per linear layer.
///
/// # Errors
/// Modules of different ranks at one layer.
pub fn combine(modules: &[LoraModule], weights: &[f32]) -> Result<Updates> {
    let keys: BTreeSet<LayerKey> = modules.iter().flat_map(|module| module.layers.keys().copied()).collect();
    keys.into_iter().map(|key| Ok((key, factor_sum(modules, weights, key)?))).collect()
}

/// Sums of `sqrt(|scaling|) w A` and `sign(scaling) sqrt(|scaling|) w B` over the modules.
fn factor_sum(modules: &[LoraModule], weights: &[f32], key: LayerKey) -> Result<LoraLayer> {
    let mut sum: Option<LoraLayer> = None;
    for (module, &weight) in modules.iter().zip(weights) {
        let Some(layer) = module.layers.get(&key) else { continue };
        let empty = || LoraLayer {
            a: vec![0.0; layer.a.len()],
            b: vec![0.0; layer.b.len()],
            scaling: 1.0,
            ..layer.clone()
        };
        let sum = sum.get_or_insert_with(empty);
        if sum.rank != layer.rank {
            let reason =
                format!("rank {} next to rank {}: lorahub needs modules of one rank", layer.rank, sum.rank);
            return Err(Error::mismatch(format!("module {}", module.name), reason));
        }
        let factor = weight * layer.scaling.abs().sqrt();
        let signed = factor * layer.scaling.signum();
        sum.a.iter_mut().zip(&layer.a).for_each(|(sum, value)| *sum += factor * value);
        sum.b.iter_mut().zip(&layer.b).for_each(|(sum, value)| *sum += signed * value);
    }
    sum.ok_or_else(|| Error::mismatch("modules", "no module touches this layer"))
}

/// A (1+1) evolution strategy; ask for a candidate, tell its loss.
pub struct Search {
    best: Vec<f32>,
    best_score: f32,
    sigma: f32,
    rng: ChaCha8Rng,
    evaluations: usize,
}

impl Search {
    /// A search over `modules` weights. The first candidate is all zeros: the base model.
    pub fn new(modules: usize, seed: u64) -> Self {
        Self {
            best: vec![0.0; modules],
            best_score: f32::INFINITY,
            sigma: 0.3,
            rng: random::stream(seed, Purpose::Search),
            evaluations: 0,
        }
    }

    /// The next weights to evaluate; `None` once the budget is spent.
    pub fn ask(&mut self) -> Option<Vec<f32>> {
        match self.evaluations {
            0 => Some(self.best.clone()),
            spent if spent >= BUDGET => None,
            _ => Some(self.best.iter().map(|weight| mutate(*weight, self.sigma, &mut self.rng)).collect()),
        }
    }

    /// The loss of the weights that were asked.
    pub fn tell(&mut self, weights: Vec<f32>, loss: f32) {
        let penalty = weights.iter().map(|weight| weight.abs()).sum::<f32>() / weights.len().max(1) as f32;
        let score = loss + L1 * penalty;
        let success = score < self.best_score;
        if self.evaluations > 0 {
            // Grows on success, shrinks on failure; balanced at one success in five.
            self.sigma *= if success { 1.5 } else { 1.5f32.powf(-0.25) };
        }
        if success {
            self.best = weights;
            self.best_score = score;
        }
        self.evaluations += 1;
    }

    /// The best weights so far.
    pub fn best(&self) -> &[f32] {
        &self.best
    }
}

fn mutate(weight: f32, sigma: f32, rng: &mut ChaCha8Rng) -> f32 {
    (weight + sigma * random::normal(rng)).clamp(-BOUND, BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vit::target::Target;

    #[test]
    fn one_module_gives_its_own_update_whatever_the_sign_of_its_scaling() {
        for scaling in [2.0f32, -2.0] {
            let layer =
                LoraLayer { rank: 1, in_dim: 2, out_dim: 1, a: vec![1.0, -3.0], b: vec![0.5], scaling };
            let layers = [((0, Target::Query), layer)].into();
            let module = LoraModule { name: "m".into(), layers, head: None, base_model: None };
            let sum = combine(&[module], &[1.0]).expect("one rank");
            let sum = &sum[&(0, Target::Query)];
            let update: Vec<f32> = sum.a.iter().map(|a| sum.scaling * sum.b[0] * a).collect();
            let expected = [0.5 * scaling, -1.5 * scaling];
            assert!(update.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{update:?}");
        }
    }

    #[test]
    fn the_search_gets_closer_to_the_optimum_within_its_budget() {
        let distance = |weights: &[f32]| (weights[0] - 0.8).powi(2) + (weights[1] + 0.5).powi(2);
        let mut search = Search::new(2, 3);
        let mut evaluations = 0;
        while let Some(weights) = search.ask() {
            assert!(weights.iter().all(|weight| weight.abs() <= BOUND));
            let loss = distance(&weights);
            search.tell(weights, loss);
            evaluations += 1;
        }
        assert_eq!(evaluations, BUDGET);
        assert!(distance(search.best()) < 0.3 * distance(&[0.0, 0.0]));
    }
}
