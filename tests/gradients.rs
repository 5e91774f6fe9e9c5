//! Gradients against central differences: of every tensor of a model, and of what every kind of method trains.

#[path = "support/small.rs"]
mod small;

use burn::tensor::{Device, Tensor, TensorData};
use loraloom::{
    block_on,
    device::{OpenDevice, read},
    lora::library::LoraLibrary,
    methods::{
        Adapt, Chain,
        composition::{Composition, Granularity, Normalization},
        factors::{Factors, LoraConfig},
    },
    random::{Purpose, normal, stream},
    vit::{config::MlpKind, model::Vit, target::Target},
};
use small::{MODULES, loss, modules, vit};

/// Balances what single precision loses against what a straight line misses.
const STEP: f32 = 4e-3;
/// Of the largest difference of a tensor, and what single precision loses.
const TOLERANCE: (f32, f32) = (0.01, 6e-4);
/// How many numbers of a tensor are looked at.
const LOOKED_AT: usize = 24;

/// A model as lively as a trained one: attention is uneven, and every weight counts.
fn lively(device: &OpenDevice, mlp: MlpKind) -> Vit {
    let mut vit = vit(device, mlp);
    let mut rng = stream(17, Purpose::Init);
    for (name, tensor) in vit.tensors_mut() {
        let [rows, columns] = tensor.to_matrix().dims();
        let is_scale = name.ends_with("gamma") || name.contains("norm") && name.ends_with("weight");
        let deviation = if rows > 1 { 1.5 / (rows as f32).sqrt() } else { 0.3 };
        let center = if is_scale { 1.0 } else { 0.0 };
        let values = (0..rows * columns).map(|_| center + deviation * normal(&mut rng)).collect();
        tensor.replace(matrix(values, [rows, columns], &device.plain));
    }
    vit
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    block_on(read(tensor)).expect("reads back")
}

/// The gradient at one matrix against differences of the loss as a function of it: the largest numbers and others all over.
/// Returns the gradient.
fn check(name: &str, at: &Tensor<2>, loss: &dyn Fn(Tensor<2>) -> Tensor<1>) -> Vec<f32> {
    let tracked = at.clone().autodiff().require_grad();
    let mut gradients = loss(tracked.clone()).backward();
    let found = values(tracked.grad_remove(&mut gradients).unwrap_or_else(|| panic!("{name}: no gradient")));
    let start = values(at.clone());
    let mut looked_at: Vec<usize> = (0..found.len()).collect();
    looked_at.sort_by(|a, b| found[*b].abs().total_cmp(&found[*a].abs()));
    let stride = found.len().div_ceil(LOOKED_AT);
    let looked_at: Vec<usize> = looked_at
        .iter()
        .enumerate()
        .filter(|(rank, _)| *rank < 4 || rank % stride == 0)
        .map(|(_, index)| *index)
        .collect();
    let moved = |index: usize, step: f32| {
        let mut values = start.clone();
        values[index] += step;
        f64::from(value(loss(matrix(values, at.dims(), &at.device()))))
    };
    let differences: Vec<f32> = looked_at
        .iter()
        .map(|&index| ((moved(index, STEP) - moved(index, -STEP)) / (2.0 * f64::from(STEP))) as f32)
        .collect();
    let largest = differences.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (&index, difference) in looked_at.iter().zip(&differences) {
        assert!(
            (found[index] - difference).abs() < TOLERANCE.0 * largest + TOLERANCE.1,
            "{name}[{index}]: {} {difference}, largest {largest}",
            found[index]
        );
    }
    found
}

fn value(loss: Tensor<1>) -> f32 {
    values(loss)[0]
}

fn largest(gradient: &[f32]) -> f32 {
    gradient.iter().fold(0.0f32, |largest, value| largest.max(value.abs()))
}

#[test]
fn every_tensor_of_a_model_gets_its_gradient() {
    let device = OpenDevice::cpu();
    for mlp in [MlpKind::Gelu, MlpKind::SwiGlu] {
        let mut plain = lively(&device, mlp);
        let starts: Vec<(String, Tensor<2>)> =
            plain.tensors_mut().iter().map(|(name, tensor)| (name.clone(), tensor.to_matrix())).collect();
        for (index, (name, start)) in starts.iter().enumerate() {
            let with = |value: Tensor<2>| {
                let mut moved = plain.clone();
                moved.tensors_mut().swap_remove(index).1.replace(value);
                loss(&moved, &device)
            };
            let found = check(&format!("{mlp:?} {name}"), start, &with);
            // A bias of all keys moves all logits of a query alike.
            let counts = !name.ends_with("key.bias");
            assert_eq!(largest(&found) > 1e-2, counts, "{name}: {}", largest(&found));
        }
    }
}

/// Checks everything that a method trains, around values that differ from where it starts.
fn check_method(name: &str, method: &dyn Adapt, vit: &Vit, device: &OpenDevice) -> Vec<Vec<f32>> {
    let mut rng = stream(23, Purpose::Order);
    let mut around = |start: Tensor<2>| {
        let [rows, columns] = start.dims();
        let noise = (0..rows * columns).map(|_| 0.3 * normal(&mut rng)).collect();
        start + matrix(noise, [rows, columns], &device.plain)
    };
    let starts: Vec<Tensor<2>> = method.parameters().into_iter().map(|own| around(own.value)).collect();
    let check_one = |index: usize| {
        let with = |value: Tensor<2>| {
            let mut moved = starts.clone();
            moved[index] = value;
            loss(&method.apply(vit, &moved), device)
        };
        check(&format!("{name} {index}"), &starts[index], &with)
    };
    (0..starts.len()).map(check_one).collect()
}

fn composition(
    vit: &Vit,
    device: &OpenDevice,
    granularity: Granularity,
    normalization: Normalization,
) -> Composition {
    let library = LoraLibrary::new(modules(vit), vit, &device.plain).expect("fits");
    Composition::new(library, granularity, normalization)
}

#[test]
fn every_kind_of_composition_gets_its_gradient() {
    let device = OpenDevice::cpu();
    for mlp in [MlpKind::Gelu, MlpKind::SwiGlu] {
        let vit = lively(&device, mlp);
        for granularity in [Granularity::Layer, Granularity::Block, Granularity::Module] {
            for normalization in [Normalization::Softmax, Normalization::Scaled(1.5), Normalization::Free] {
                let method = composition(&vit, &device, granularity, normalization);
                let name = format!("{mlp:?} {granularity:?} {normalization:?}");
                let found = check_method(&name, &method, &vit, &device);
                assert!(found.iter().all(|gradient| largest(gradient) > 1e-2), "{name}");
                if normalization == Normalization::Softmax {
                    // To add a number to all logits of a layer changes nothing.
                    let sums = found[0].chunks(MODULES).map(|row| row.iter().sum::<f32>());
                    sums.for_each(|sum| assert!(sum.abs() < 1e-4, "{name}: {sum}"));
                }
            }
        }
    }
}

#[test]
fn factors_get_their_gradient_alone_and_on_a_composition() {
    let device = OpenDevice::cpu();
    for mlp in [MlpKind::Gelu, MlpKind::SwiGlu] {
        let vit = lively(&device, mlp);
        let config = LoraConfig { rank: 2, alpha: 2.0, targets: Target::ALL.to_vec() };
        let factors = || Factors::new(&vit, &config, &mut stream(3, Purpose::Init), &device.plain);
        let learned = composition(&vit, &device, Granularity::Layer, Normalization::Softmax);
        let both = Chain(vec![Box::new(learned), Box::new(factors())]);
        for (name, method) in [("lora", &factors() as &dyn Adapt), ("learned+lora", &both)] {
            let found = check_method(&format!("{mlp:?} {name}"), method, &vit, &device);
            assert!(found.iter().all(|gradient| largest(gradient) > 1e-2), "{mlp:?} {name}");
        }
    }
}
