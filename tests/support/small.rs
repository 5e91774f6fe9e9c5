//! A model so small that finite differences of all its weights can be taken, with modules and images for it.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData, activation::log_softmax};
use loraloom::{
    device::OpenDevice,
    lora::module::{LoraLayer, LoraModule},
    random::{Purpose, normal, stream},
    vit::{
        config::{MlpKind, Pooling, VitConfig},
        model::{HeadTensors, Vit},
        target::Target,
    },
};

pub const MODULES: usize = 3;

pub fn vit(device: &OpenDevice, mlp: MlpKind) -> Vit {
    let config = VitConfig {
        img_size: (16, 16),
        patch_size: (8, 8),
        embed_dim: 16,
        depth: 2,
        num_heads: 2,
        mlp_dim: 32,
        mlp,
        qkv_bias: true,
        layer_scale: true,
        layer_norm_eps: 1e-6,
        num_prefix_tokens: 1,
        pooling: Pooling::Cls,
    };
    Vit::init(config, 3, &device.plain)
}

pub fn modules(vit: &Vit) -> Vec<LoraModule> {
    let mut rng = stream(7, Purpose::Modules);
    let mut values = |count: usize| (0..count).map(|_| normal(&mut rng) * 0.4).collect::<Vec<f32>>();
    (0..MODULES)
        .map(|index| {
            let mut layers = BTreeMap::new();
            for block in 0..2 {
                // Module 1 leaves one layer alone.
                for target in Target::ALL.into_iter().filter(|target| index != 1 || *target != Target::Fc2) {
                    let [in_dim, out_dim] = vit.blocks[block].linear(target).weight.dims();
                    let rank = index + 1;
                    let (a, b) = (values(rank * in_dim), values(out_dim * rank));
                    layers.insert((block, target), LoraLayer { rank, in_dim, out_dim, a, b, scaling: 0.5 });
                }
            }
            LoraModule { name: index.to_string(), layers, head: None, base_model: None }
        })
        .collect()
}

pub fn images(device: &OpenDevice) -> Tensor<4> {
    let mut rng = stream(11, Purpose::Order);
    let pixels: Vec<f32> = (0..4 * 3 * 16 * 16).map(|_| normal(&mut rng)).collect();
    Tensor::from_data(TensorData::new(pixels, [4, 3, 16, 16]), &device.plain)
}

pub fn head(device: &OpenDevice) -> HeadTensors {
    let mut rng = stream(13, Purpose::Init);
    let weight: Vec<f32> = (0..16 * 3).map(|_| normal(&mut rng)).collect();
    let weight = Tensor::from_data(TensorData::new(weight, [16, 3]), &device.plain);
    HeadTensors { weight, bias: Tensor::zeros([1, 3], &device.plain) }
}

pub fn loss(vit: &Vit, device: &OpenDevice) -> Tensor<1> {
    let targets = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    let targets = Tensor::<2>::from_data(TensorData::new(targets.to_vec(), [4, 3]), &device.plain);
    (log_softmax(vit.forward(images(device), &head(device)), 1) * targets).sum() / -4.0
}
