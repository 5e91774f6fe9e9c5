//! The methods on a small model: gradients against finite differences, and what must hold exactly.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use loraloom::{
    block_on,
    dataset::Example,
    device::{OpenDevice, read},
    head::Head,
    image::{Picture, preprocess::Preprocess},
    lora::{
        library::LoraLibrary,
        module::{LoraLayer, LoraModule},
        random_modules::randomized,
    },
    methods::{
        Adapt, Chain,
        composition::{Composition, Granularity, Normalization},
        factors::{Factors, LoraConfig},
        full::Full,
    },
    random::{Purpose, normal, stream},
    train::trainer::{TrainConfig, Trainer},
    vit::{
        config::{MlpKind, Pooling, VitConfig},
        model::{HeadTensors, Vit},
        target::Target,
        visit::TensorMut,
    },
};

const MODULES: usize = 3;

fn vit(device: &OpenDevice, mlp: MlpKind) -> Vit {
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

fn modules(vit: &Vit) -> Vec<LoraModule> {
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

fn images(device: &OpenDevice) -> Tensor<4> {
    let mut rng = stream(11, Purpose::Order);
    let pixels: Vec<f32> = (0..4 * 3 * 16 * 16).map(|_| normal(&mut rng)).collect();
    Tensor::from_data(TensorData::new(pixels, [4, 3, 16, 16]), &device.plain)
}

fn head(device: &OpenDevice) -> HeadTensors {
    let mut rng = stream(13, Purpose::Init);
    let weight: Vec<f32> = (0..16 * 3).map(|_| normal(&mut rng)).collect();
    let weight = Tensor::from_data(TensorData::new(weight, [16, 3]), &device.plain);
    HeadTensors { weight, bias: Tensor::zeros([1, 3], &device.plain) }
}

fn loss(vit: &Vit, device: &OpenDevice) -> Tensor<1> {
    let targets = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    let targets = Tensor::<2>::from_data(TensorData::new(targets.to_vec(), [4, 3]), &device.plain);
    (log_softmax(vit.forward(images(device), &head(device)), 1) * targets).sum() / -4.0
}

fn value(tensor: Tensor<1>) -> f32 {
    block_on(read(tensor)).expect("reads back")[0]
}

/// Analytic gradients and their differences from central differences, relative to the largest gradient.
fn check_gradients(method: &Composition, vit: &Vit, device: &OpenDevice, start: f32) -> Vec<f32> {
    let [rows, columns] = method.parameters()[0].value.dims();
    let values: Vec<f32> = (0..rows * columns).map(|index| start * ((index * 7 % 5) as f32 - 2.0)).collect();
    let plain = |values: &[f32]| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, columns]), &device.plain)
    };
    let tracked = plain(&values).autodiff().require_grad();
    let mut gradients = loss(&method.apply(vit, std::slice::from_ref(&tracked)), device).backward();
    let found =
        block_on(read(tracked.grad_remove(&mut gradients).expect("has a gradient"))).expect("reads back");
    let largest = found.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for index in 0..values.len() {
        let at = |step: f32| {
            let mut moved = values.clone();
            moved[index] += step;
            f64::from(value(loss(&method.apply(vit, &[plain(&moved)]), device)))
        };
        let difference = ((at(1e-2) - at(-1e-2)) / 2e-2) as f32;
        assert!(
            (found[index] - difference).abs() < 0.02 * largest + 2e-4,
            "{index}: {} {difference}",
            found[index]
        );
    }
    assert!(largest > 1e-3, "gradients are not all zero");
    found
}

#[test]
fn gradients_agree_with_finite_differences_on_the_fused_and_on_the_general_path() {
    let device = OpenDevice::cpu();
    for mlp in [MlpKind::Gelu, MlpKind::SwiGlu] {
        let vit = vit(&device, mlp);
        for granularity in [Granularity::Layer, Granularity::Block, Granularity::Module] {
            for (normalization, start) in [(Normalization::Softmax, 0.3), (Normalization::Free, 0.2)] {
                let library = LoraLibrary::new(&modules(&vit), &vit, &device.plain).expect("fits");
                check_gradients(&Composition::new(library, granularity, normalization), &vit, &device, start);
            }
        }
    }
}

#[test]
fn softmax_gradients_sum_to_zero_in_every_layer() {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let library = LoraLibrary::new(&modules(&vit), &vit, &device.plain).expect("fits");
    let method = Composition::new(library, Granularity::Layer, Normalization::Softmax);
    for row in check_gradients(&method, &vit, &device, 0.0).chunks(MODULES) {
        assert!(row.iter().sum::<f32>().abs() < 1e-5, "{row:?}");
    }
}

#[test]
fn every_weight_of_the_fused_block_gets_its_gradient() {
    let device = OpenDevice::cpu();
    let plain = vit(&device, MlpKind::Gelu);
    let count = plain.clone().tensors_mut().len();
    for index in 0..count {
        let mut tracked = plain.clone();
        let name = tracked.tensors_mut()[index].0.clone();
        if let TensorMut::One(tensor) = &mut tracked.tensors_mut()[index].1 {
            **tensor = tensor.clone().autodiff().require_grad();
        } else {
            continue;
        }
        let mut gradients = loss(&tracked, &device).backward();
        let found = match &tracked.tensors_mut()[index].1 {
            TensorMut::One(tensor) => {
                block_on(read(tensor.grad_remove(&mut gradients).expect(&name))).expect("reads back")
            }
            _ => unreachable!(),
        };
        let at = |step: f32| {
            let mut moved = plain.clone();
            if let TensorMut::One(tensor) = &mut moved.tensors_mut()[index].1 {
                let width = tensor.dims()[0];
                let mut values = vec![0.0; width];
                values[1] = step;
                let step = Tensor::<1>::from_data(TensorData::new(values, [width]), &device.plain);
                **tensor = tensor.clone() + step;
            }
            f64::from(value(loss(&moved, &device)))
        };
        let difference = ((at(2e-3) - at(-2e-3)) / 4e-3) as f32;
        assert!(
            (found[1] - difference).abs() < 0.03 * difference.abs() + 1e-2,
            "{name}: {} {difference}",
            found[1]
        );
    }
}

fn features(vit: &Vit, device: &OpenDevice) -> Vec<f32> {
    block_on(read(vit.forward_features(images(device)))).expect("reads back")
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < tolerance)
}

#[test]
fn uniform_is_the_mean_of_updates_one_hot_is_that_module_and_zero_is_the_base() {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let modules = modules(&vit);
    let library = LoraLibrary::new(&modules, &vit, &device.plain).expect("fits");
    let merged = library.merge_uniform(&vit);
    let key = (1, Target::Value);
    let [inputs, outputs] = vit.blocks[1].attn.value.weight.dims();
    let change =
        block_on(read(merged.blocks[1].attn.value.weight.clone() - vit.blocks[1].attn.value.weight.clone()));
    let change = change.expect("reads back");
    for row in 0..inputs {
        for column in 0..outputs {
            let mean =
                modules.iter().map(|m| m.layers[&key].delta()[column * inputs + row]).sum::<f32>() / 3.0;
            assert!((change[row * outputs + column] - mean).abs() < 1e-6);
        }
    }
    let softmax = Composition::new(library.clone(), Granularity::Layer, Normalization::Softmax);
    let start: Vec<Tensor<2>> = softmax.parameters().into_iter().map(|parameter| parameter.value).collect();
    assert!(close(&features(&softmax.apply(&vit, &start), &device), &features(&merged, &device), 1e-5));
    let twice = Composition::new(library.clone(), Granularity::Layer, Normalization::Scaled(2.0));
    let start: Vec<Tensor<2>> = twice.parameters().into_iter().map(|parameter| parameter.value).collect();
    let doubled = library.merge(&vit, &library.broadcast(&[2.0 / 3.0; 3]));
    assert!(close(&features(&twice.apply(&vit, &start), &device), &features(&doubled, &device), 1e-5));
    let free = Composition::new(library.clone(), Granularity::Layer, Normalization::Free);
    let start: Vec<Tensor<2>> = free.parameters().into_iter().map(|parameter| parameter.value).collect();
    assert!(close(&features(&free.apply(&vit, &start), &device), &features(&merged, &device), 1e-5));
    let zero: Vec<Tensor<2>> = start.iter().map(Tensor::zeros_like).collect();
    assert_eq!(features(&free.apply(&vit, &zero), &device), features(&vit, &device));
    let one = library.merge(&vit, &library.broadcast(&[0.0, 0.0, 1.0]));
    assert!(close(&features(&one, &device), &features(&library.merge_one(&vit, 2), &device), 1e-6));
    assert!(!close(&features(&one, &device), &features(&vit, &device), 1e-3));
}

#[test]
fn updates_that_are_saved_compute_what_was_trained() {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let library = LoraLibrary::new(&modules(&vit), &vit, &device.plain).expect("fits");
    let logits = vec![0.5, -1.0, 2.0, 0.0, 0.3, -0.7];
    let scales = vec![0.4, -0.2];
    let tensor = |values: &[f32]| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, values.len() / 2]), &device.plain)
    };
    for (normalization, values) in [
        (Normalization::Softmax, vec![logits.clone()]),
        (Normalization::Scaled(1.0), vec![logits.clone(), scales.clone()]),
    ] {
        let method = Composition::new(library.clone(), Granularity::Block, normalization);
        let updates = method.updates(&values).expect("low-rank");
        let merged = loraloom::lora::library::merge_updates(&vit, &updates, &device.plain);
        let tensors: Vec<Tensor<2>> = values.iter().map(|values| tensor(values)).collect();
        assert!(close(&features(&method.apply(&vit, &tensors), &device), &features(&merged, &device), 1e-5));
        let sums: Vec<f32> =
            method.coefficients(&values).expect("a composition").iter().map(|row| row.iter().sum()).collect();
        let expected = if values.len() == 1 { [1.0, 1.0] } else { [0.4f32.exp(), (-0.2f32).exp()] };
        assert!(sums.iter().zip(expected).all(|(sum, expected)| (sum - expected).abs() < 1e-5));
    }
}

#[test]
fn random_modules_have_the_norms_of_the_real_ones() {
    let modules = modules(&vit(&OpenDevice::cpu(), MlpKind::Gelu));
    let noise = randomized(&modules, 5);
    assert_eq!(noise, randomized(&modules, 5));
    for (real, noise) in modules.iter().zip(&noise) {
        for (key, layer) in &real.layers {
            let (norm, found) = (layer.frobenius_norm(), noise.layers[key].frobenius_norm());
            assert!((norm - found).abs() < 1e-4 * norm);
            assert_ne!(layer.a, noise.layers[key].a);
        }
    }
}

/// A learned composition with a fresh LoRA on top of it.
fn composition_and_lora(vit: &Vit, device: &Device) -> Box<dyn Adapt> {
    let library = LoraLibrary::new(&modules(vit), vit, device).expect("fits");
    let composition = Composition::new(library, Granularity::Layer, Normalization::Softmax);
    let config = LoraConfig { rank: 2, alpha: 2.0, targets: vec![Target::Query, Target::Fc2] };
    let factors = Factors::new(vit, &config, &mut stream(3, Purpose::Init), device);
    Box::new(Chain(vec![Box::new(composition), Box::new(factors)]))
}

/// Values of the method, head, losses and accuracies after three steps of seven images in parts of so many or whole,
/// padded to so many rows.
fn trained_in_parts(
    build: fn(&Vit, &Device) -> Box<dyn Adapt>,
    images_per_part: Option<usize>,
    rows: usize,
) -> Vec<f32> {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let method = build(&vit, &device.plain);
    let preprocess =
        Preprocess::from_json(None, ("config.json", r#"{"image_size": 16}"#)).expect("a small input");
    let example = |index: usize| Example {
        name: index.to_string(),
        class: index % 3,
        crop: Picture::filled(16, 16, [(index * 20) as u8, (index * index) as u8, 90]),
    };
    let examples: Vec<Example> = (0..9).map(example).collect();
    let config = TrainConfig { num_steps: 3, batch_size: 7, ..TrainConfig::default() };
    let head = Head { features: 16, weight: vec![0.1; 48], bias: vec![0.0; 3] };
    let trainer = Trainer::new(&*method, &vit, &head, &examples, &preprocess, &config, &device.autodiff);
    let mut trainer = images_per_part.into_iter().fold(trainer.padded_to(rows), Trainer::in_parts);
    while !trainer.is_done() {
        // What comes before and after the images has turns of its own.
        let parts = (1..).find(|_| trainer.train_part().expect("a part"));
        assert_eq!(parts, Some(images_per_part.map_or(1, |images| 1 + rows.div_ceil(images) + 1)));
    }
    let results = block_on(trainer.take_results()).expect("reads back");
    assert!(results.len() == 3 && results.iter().all(|result| (0.0..=1.0).contains(&result.accuracy)));
    let trained = block_on(trainer.trained()).expect("reads back");
    let measured = results.iter().flat_map(|result| [result.loss, result.accuracy]);
    trained.values.concat().into_iter().chain(trained.head.weight).chain(measured).collect()
}

#[test]
fn neither_parts_nor_padding_change_a_step() {
    for build in [composition_and_lora, |vit: &Vit, _: &Device| Box::new(Full::new(vit)) as Box<dyn Adapt>] {
        let whole = trained_in_parts(build, None, 7);
        assert!(whole.iter().any(|value| value.abs() > 1e-3));
        for (images_per_part, rows) in [(Some(3), 7), (Some(7), 7), (Some(5), 12), (None, 12)] {
            for (whole, other) in whole.iter().zip(trained_in_parts(build, images_per_part, rows)) {
                assert!((whole - other).abs() < 1e-4, "{images_per_part:?} of {rows}: {whole} {other}");
            }
        }
    }
}

/// Every tensor of a model by name, on the host.
fn tensors(vit: &Vit) -> Vec<(String, Vec<f32>)> {
    let mut copy = vit.clone();
    let read = |tensor: &TensorMut| match tensor {
        TensorMut::One(tensor) => block_on(read((*tensor).clone())),
        TensorMut::Two(tensor) => block_on(read((*tensor).clone())),
        TensorMut::Three(tensor) => block_on(read((*tensor).clone())),
    };
    copy.tensors_mut()
        .iter()
        .map(|(name, tensor)| (name.clone(), read(tensor).expect("reads back")))
        .collect()
}

#[test]
fn what_is_frozen_gets_no_gradient_and_stays_as_it_is() {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let config = LoraConfig { targets: vec![Target::Query, Target::Value], ..LoraConfig::default() };
    let method = Factors::new(&vit, &config, &mut stream(5, Purpose::Init), &device.plain);
    let tracked: Vec<Tensor<2>> =
        method.parameters().into_iter().map(|own| own.value.autodiff().require_grad()).collect();
    let mut frozen = vit.clone();
    for (_, tensor) in frozen.tensors_mut() {
        match tensor {
            TensorMut::One(tensor) => *tensor = tensor.clone().autodiff(),
            TensorMut::Two(tensor) => *tensor = tensor.clone().autodiff(),
            TensorMut::Three(tensor) => *tensor = tensor.clone().autodiff(),
        }
    }
    let gradients = loss(&method.apply(&frozen, &tracked), &device).backward();
    assert!(tracked.iter().all(|factor| factor.grad(&gradients).is_some()));
    for (name, tensor) in frozen.tensors_mut() {
        let has_one = match tensor {
            TensorMut::One(tensor) => tensor.grad(&gradients).is_some(),
            TensorMut::Two(tensor) => tensor.grad(&gradients).is_some(),
            TensorMut::Three(tensor) => tensor.grad(&gradients).is_some(),
        };
        assert!(!has_one, "{name}");
    }
    let before = tensors(&vit);
    let after = tensors(&adapted_by(&method, &vit, &device));
    assert_eq!(tensors(&vit), before, "the base model itself");
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        let adapts = name.ends_with("attn.query.weight") || name.ends_with("attn.value.weight");
        assert_eq!(before != after, adapts, "{name}");
    }
}

/// A model after three steps of a method.
fn adapted_by(method: &dyn Adapt, vit: &Vit, device: &OpenDevice) -> Vit {
    let preprocess =
        Preprocess::from_json(None, ("config.json", r#"{"image_size": 16}"#)).expect("a small input");
    let example = |index: usize| Example {
        name: index.to_string(),
        class: index % 3,
        crop: Picture::filled(16, 16, [(index * 20) as u8, (index * index) as u8, 90]),
    };
    let examples: Vec<Example> = (0..9).map(example).collect();
    let config = TrainConfig { num_steps: 3, ..TrainConfig::default() };
    let head = Head {
        features: 16,
        weight: (0..48).map(|index| (index as f32).sin()).collect(),
        bias: vec![0.0; 3],
    };
    let mut trainer = Trainer::new(method, vit, &head, &examples, &preprocess, &config, &device.autodiff);
    while !trainer.is_done() {
        trainer.train_step().expect("a step");
    }
    trainer.adapted()
}
