//! The library of upstream modules on a device: their factors joined per linear layer, so that a
//! weighted sum of any number of modules is one small matrix product.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    cat::{Updates, weighted_sum},
    module::{LoraLayer, LoraModule},
};
use crate::{
    error::{Error, Result},
    matrix::transpose,
    vit::{model::Vit, target::Target},
};

/// A linear layer of the ViT that carries LoRA: block index and target.
pub type LayerKey = (usize, Target);

/// The factors of all N modules at one linear layer.
#[derive(Clone, Debug)]
pub struct LibraryLayer {
    /// `A` factors side by side, `[in, R]`, R the sum of the ranks.
    pub a: Tensor<2>,
    /// Scaled `B` factors stacked, `[R, out]`.
    pub b: Tensor<2>,
    /// Which columns of `a` belong to which module: ones in `[N, R]`.
    pub expand: Tensor<2>,
}

/// The coefficients of the mean of some modules' updates, times a factor: uniform composition where it is 1.
pub fn mean_shares(factor: f32, modules: usize) -> Vec<f32> {
    vec![factor / modules as f32; modules]
}

/// Upstream modules, ready to be composed.
#[derive(Clone, Debug)]
pub struct LoraLibrary {
    /// The modules on the host, for writing what was composed.
    pub modules: Arc<[LoraModule]>,
    /// Joined factors per linear layer.
    pub layers: BTreeMap<LayerKey, LibraryLayer>,
}

impl LoraLibrary {
    /// Joins modules for a model.
    ///
    /// # Errors
    /// No modules, or a module that does not fit the model: its block, target or widths are named.
    pub fn new(modules: impl Into<Arc<[LoraModule]>>, vit: &Vit, device: &Device) -> Result<Self> {
        let modules = modules.into();
        if modules.is_empty() {
            return Err(Error::mismatch("modules", "none given; name at least one folder of a LoRA module"));
        }
        modules.iter().try_for_each(|module| check_fit(module, vit))?;
        Ok(Self::of_fitting(modules, device))
    }

    /// Joins modules that [`check_fit`] has seen.
    pub fn of_fitting(modules: impl Into<Arc<[LoraModule]>>, device: &Device) -> Self {
        let modules = modules.into();
        let keys: BTreeSet<LayerKey> =
            modules.iter().flat_map(|module| module.layers.keys().copied()).collect();
        let layers = keys.into_iter().map(|key| (key, join(&modules, key, device))).collect();
        Self { modules, layers }
    }

    /// Number of modules N.
    pub fn num_modules(&self) -> usize {
        self.modules.len()
    }

    /// Adds the weighted sum of the modules' updates to every layer of a model.
    ///
    /// `sum_n c_n dW_n = A diag(expand(c)) B`: exact, and its cost does not depend on the batch. The smaller factor is
    /// the one that gets scaled. `coefficients` gives `[1, N]`, trained or not, for a layer of the library's order.
    pub fn add(&self, vit: &mut Vit, coefficients: impl Fn(usize) -> Tensor<2>) {
        for (index, (&(block, target), layer)) in self.layers.iter().enumerate() {
            let ([inputs, rank], [_, outputs]) = (layer.a.dims(), layer.b.dims());
            let scales = coefficients(index).matmul(layer.expand.clone()); // [1, R]
            let (mut a, mut b) = (layer.a.clone(), layer.b.clone());
            if inputs <= outputs {
                a = a * scales;
            } else {
                b = b * scales.reshape([rank, 1]);
            }
            vit.blocks[block].add_product(target, a, b);
        }
    }

    /// The model with fixed coefficients folded into its weights.
    ///
    /// `coefficients` holds one vector of N per layer, in the order of `layers`.
    pub fn merge(&self, vit: &Vit, coefficients: &[Vec<f32>]) -> Vit {
        let mut merged = vit.clone();
        self.add(&mut merged, |layer| {
            let row = TensorData::new(coefficients[layer].clone(), [1, self.num_modules()]);
            Tensor::from_data(row, &vit.pos_embed.device())
        });
        merged
    }

    /// As [`LoraLibrary::merge`] with the same coefficients in every layer, one per module: `W0 + sum_n c_n dW_n`.
    pub fn merge_alike(&self, vit: &Vit, coefficients: &[f32]) -> Vit {
        self.merge(vit, &vec![coefficients.to_vec(); self.layers.len()])
    }

    /// The same composition as updates on the host, `weights` giving one weight per module for a layer.
    pub fn updates(&self, weights: impl Fn(usize) -> Vec<f32>) -> Updates {
        let keys: Vec<LayerKey> = self.layers.keys().copied().collect();
        weighted_sum(&self.modules, &keys, weights)
    }
}

/// The model with updates folded into its weights.
pub fn merge_updates(vit: &Vit, updates: &Updates, device: &Device) -> Vit {
    let mut merged = vit.clone();
    for (&(block, target), layer) in updates {
        let a = transpose(&layer.a, layer.rank, layer.in_dim);
        let b: Vec<f32> = transpose(&layer.b, layer.out_dim, layer.rank);
        let a = Tensor::<2>::from_data(TensorData::new(a, [layer.in_dim, layer.rank]), device);
        let b = Tensor::<2>::from_data(TensorData::new(b, [layer.rank, layer.out_dim]), device);
        merged.blocks[block].add_product(target, a, b * layer.scaling);
    }
    merged
}

/// Refuses a module that was made for another model.
///
/// # Errors
/// Its block, target and widths are named.
pub fn check_fit(module: &LoraModule, vit: &Vit) -> Result<()> {
    for (&(block, target), layer) in &module.layers {
        let place = format!("module {}: block {block}, {}", module.name, target.name());
        let Some(found) = vit.blocks.get(block) else {
            let reason =
                format!("the model has {} blocks; the module was made for another model", vit.blocks.len());
            return Err(Error::mismatch(place, reason));
        };
        let [inputs, outputs] = found.linear(target).weight.dims();
        if [inputs, outputs] != [layer.in_dim, layer.out_dim] {
            let reason = format!(
                "it maps {} to {} channels, the model {inputs} to {outputs}; the module was made for another model",
                layer.in_dim, layer.out_dim
            );
            return Err(Error::mismatch(place, reason));
        }
    }
    Ok(())
}

fn join(modules: &[LoraModule], key: LayerKey, device: &Device) -> LibraryLayer {
    let layers: Vec<Option<&LoraLayer>> = modules.iter().map(|module| module.layers.get(&key)).collect();
    let present = || layers.iter().flatten();
    let rank: usize = present().map(|layer| layer.rank).sum();
    let (inputs, outputs) = present().next().map_or((0, 0), |layer| (layer.in_dim, layer.out_dim));
    let stacked_a: Vec<f32> = present().flat_map(|layer| layer.a.iter().copied()).collect(); // [R, in]
    let scaled_b = |layer: &&LoraLayer| {
        let b = transpose(&layer.b, layer.out_dim, layer.rank); // [r, out]
        b.into_iter().map(|value| value * layer.scaling).collect::<Vec<_>>()
    };
    let stacked_b: Vec<f32> = present().flat_map(scaled_b).collect(); // [R, out]
    let mut expand = vec![0.0; modules.len() * rank];
    let mut column = 0;
    for (module, layer) in layers.iter().enumerate() {
        let width = layer.map_or(0, |layer| layer.rank);
        expand[module * rank + column..module * rank + column + width].fill(1.0);
        column += width;
    }
    let tensor = |values, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), device);
    LibraryLayer {
        a: tensor(transpose(&stacked_a, rank, inputs), [inputs, rank]),
        b: tensor(stacked_b, [rank, outputs]),
        expand: tensor(expand, [modules.len(), rank]),
    }
}
