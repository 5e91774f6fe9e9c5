//! The methods on a small model: what must hold exactly.

#[path = "support/small.rs"]
mod small;

use burn::tensor::{Device, Tensor, TensorData};
use loraloom::{
    block_on,
    dataset::Example,
    device::{OpenDevice, read},
    head::Head,
    image::{Picture, preprocess::Preprocess},
    lora::{
        library::{LoraLibrary, mean_shares},
        random_modules::randomized,
    },
    methods::{
        Adapt, Chain,
        composition::{Composition, Granularity, Normalization},
        factors::{Factors, LoraConfig},
        full::Full,
        registry::FrozenWeights,
    },
    random::{Purpose, stream},
    train::trainer::{TrainConfig, Trainer},
    vit::{config::MlpKind, model::Vit, target::Target, visit::TensorMut},
};
use small::{images, loss, modules, vit};

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
    let library = LoraLibrary::new(&modules[..], &vit, &device.plain).expect("fits");
    let merged = library.merge_alike(&vit, &mean_shares(1.0, 3));
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
    let doubled = library.merge_alike(&vit, &mean_shares(2.0, 3));
    assert!(close(&features(&twice.apply(&vit, &start), &device), &features(&doubled, &device), 1e-5));
    let free = Composition::new(library.clone(), Granularity::Layer, Normalization::Free);
    let start: Vec<Tensor<2>> = free.parameters().into_iter().map(|parameter| parameter.value).collect();
    assert!(close(&features(&free.apply(&vit, &start), &device), &features(&merged, &device), 1e-5));
    let zero: Vec<Tensor<2>> = start.iter().map(Tensor::zeros_like).collect();
    assert_eq!(features(&free.apply(&vit, &zero), &device), features(&vit, &device));
    let one = library.merge_alike(&vit, &FrozenWeights::Module(2).shares(3).expect("modules"));
    let alone = LoraLibrary::new(&modules[2..], &vit, &device.plain).expect("fits").merge_alike(&vit, &[1.0]);
    assert!(close(&features(&one, &device), &features(&alone, &device), 1e-5));
    assert!(!close(&features(&one, &device), &features(&vit, &device), 1e-3));
}

#[test]
fn updates_that_are_saved_compute_what_was_trained() {
    let device = OpenDevice::cpu();
    let vit = vit(&device, MlpKind::Gelu);
    let library = LoraLibrary::new(modules(&vit), &vit, &device.plain).expect("fits");
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
    let library = LoraLibrary::new(modules(vit), vit, device).expect("fits");
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
