//! DeiT-Tiny's architecture at 224 px on the CPU device: the forward pass, and one step of learned composition.
//!
//! `./build.sh bench` runs it. When LORALOOM_PYTHON names a Python with torch and timm, the same work is timed there
//! in the same run, and ratios are printed (below 1: loraloom is faster).

use std::{collections::BTreeMap, env, process::Command, time::Instant};

use burn::tensor::{Device, Tensor, TensorData};
use loraloom::{
    dataset::Example,
    device::{DeviceChoice, OpenDevice, block_on, open, read},
    head::Head,
    image::{
        Picture,
        preprocess::{Preprocess, Scale},
    },
    lora::{
        library::LoraLibrary,
        module::{LoraLayer, LoraModule},
    },
    methods::composition::{Composition, Granularity, Normalization},
    random::{Purpose, normal, stream},
    train::trainer::{TrainConfig, Trainer},
    vit::{
        config::{MlpKind, Pooling, VitConfig},
        model::Vit,
        target::Target,
    },
};

// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;
const CLASSES: usize = 10;

fn main() {
    let python = python_times();
    let device = block_on(open(DeviceChoice::Cpu)).expect("the CPU device opens");
    let vit = Vit::init(deit_tiny(), 0, &device.plain);
    println!("{:<44}{:>12}{:>12}{:>8}", "work", "seconds", "PyTorch", "ratio");
    for batch in [1, 8, 32] {
        show(&format!("forward, {batch} images"), median(|| forward(&vit, batch, &device.plain)), &python);
    }
    for batch in [8, 32] {
        let step = learned_step(&vit, batch, 3, 4, &device);
        show(&format!("learned step, {batch} images"), step, &python);
        if batch == 32 {
            let many = learned_step(&vit, batch, 48, 16, &device);
            println!("{:<44}{:>32.2}", "the same, 48 modules r16 / 3 modules r4", many / step);
        }
    }
    println!("peak memory of the process: {:.2} GB", peak_gigabytes());
}

fn show(work: &str, seconds: f64, python: &BTreeMap<String, f64>) {
    match python.get(work) {
        Some(other) => println!("{work:<44}{seconds:>12.3}{other:>12.3}{:>8.2}", seconds / other),
        None => println!("{work:<44}{seconds:>12.3}{:>12}", "-"),
    }
}

/// Median of some runs after one to warm up, in seconds.
fn median(mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn forward(vit: &Vit, batch: usize, device: &Device) {
    let pixels = vec![0.1; batch * 3 * 224 * 224];
    let images = Tensor::from_data(TensorData::new(pixels, [batch, 3, 224, 224]), device);
    block_on(read(vit.forward_pooled(images))).expect("reads back");
}

fn learned_step(vit: &Vit, batch: usize, modules: usize, rank: usize, device: &OpenDevice) -> f64 {
    let modules: Vec<LoraModule> = (0..modules).map(|index| module(vit, rank, index as u64)).collect();
    let library = LoraLibrary::new(modules, vit, &device.plain).expect("fits");
    let method = Composition::new(library, Granularity::Layer, Normalization::Softmax);
    let preprocess = Preprocess::new("bench", Scale::Keep, None, (224, 224)).expect("valid");
    let examples: Vec<Example> = (0..batch)
        .map(|index| Example {
            name: String::new(),
            class: index % CLASSES,
            crop: Picture::filled(224, 224, [index as u8; 3]),
        })
        .collect();
    let head = Head { features: 192, weight: vec![0.01; CLASSES * 192], bias: vec![0.0; CLASSES] };
    let config = TrainConfig { num_steps: 100, batch_size: batch, ..TrainConfig::unvaried() };
    let mut trainer = Trainer::new(&method, vit, &head, &examples, &preprocess, &config, &device.autodiff);
    median(|| {
        trainer.train_step().expect("steps");
        block_on(trainer.take_results()).expect("reads back");
    })
}

fn module(vit: &Vit, rank: usize, seed: u64) -> LoraModule {
    let mut rng = stream(seed, Purpose::Modules);
    let mut layers = BTreeMap::new();
    for block in 0..vit.config.depth {
        for target in Target::ALL {
            let [in_dim, out_dim] = vit.blocks[block].linear(target).weight.dims();
            let mut values = |count: usize| (0..count).map(|_| 0.02 * normal(&mut rng)).collect::<Vec<f32>>();
            let (a, b) = (values(rank * in_dim), values(out_dim * rank));
            layers.insert((block, target), LoraLayer { rank, in_dim, out_dim, a, b, scaling: 1.0 });
        }
    }
    LoraModule { name: seed.to_string(), layers, head: None, base_model: None }
}

fn deit_tiny() -> VitConfig {
    VitConfig {
        img_size: (224, 224),
        patch_size: (16, 16),
        embed_dim: 192,
        depth: 12,
        num_heads: 3,
        mlp_dim: 768,
        mlp: MlpKind::Gelu,
        qkv_bias: true,
        layer_scale: false,
        layer_norm_eps: 1e-6,
        num_prefix_tokens: 1,
        pooling: Pooling::Cls,
    }
}

/// Seconds of the same work in PyTorch, by name; empty without LORALOOM_PYTHON.
fn python_times() -> BTreeMap<String, f64> {
    let Some(python) = env::var_os("LORALOOM_PYTHON") else {
        println!("LORALOOM_PYTHON is not set: no comparison with PyTorch");
        return BTreeMap::new();
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/vit.py");
    let output = Command::new(python).arg(script).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parse = |line: &str| {
        line.rsplit_once('\t').map(|(work, time)| (work.to_string(), time.parse().expect("seconds")))
    };
    text.lines().filter_map(parse).collect()
}

/// Largest resident size so far (Linux; 0 elsewhere).
fn peak_gigabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}
