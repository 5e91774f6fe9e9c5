//! One cell of the comparison on a base model of 3.6 million values and 65 tokens, on the CPU device: a task of ten
//! classes at 5 shots, eleven modules, all methods, 40 steps, 300 test images; and what the grid of that task takes.
//!
//! `./build.sh bench --bench grid` runs it. The weights are random: time does not depend on them.

use std::{collections::BTreeMap, path::Path};

use image::{Rgb, RgbImage};
use loraloom::{
    Method, Precision, block_on,
    device::{DeviceChoice, open},
    experiment::{
        plan::{Plan, Shard, Shots},
        results::{Results, Run},
        run::{Event, Experiment},
        settings::Settings,
    },
    files::Together,
    head::Head,
    image::preprocess::{Preprocess, Scale},
    lora::module::{LoraLayer, LoraModule},
    random::{Purpose, normal, stream},
    session::{ModelOptions, Session, config::AdaptConfig, export::model_files, progress::Flow},
    vit::{
        config::{MlpKind, Pooling, VitConfig},
        model::Vit,
        target::Target,
    },
};

// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDE: usize = 96;
const CLASSES: usize = 10;
const MODULES: u64 = 11;
const SEEDS: f64 = 5.0;

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = session(dir.path());
    write_images(&dir.path().join("task/train"), 20);
    write_images(&dir.path().join("task/test"), 30);
    let config = AdaptConfig { folds: 0, ..AdaptConfig::default() };
    let settings = block_on(Settings::new(&session, config)).expect("settings");
    let shots = Shots::PerClass(5);
    let plan = Plan { tasks: vec!["task".into()], shots: vec![shots], seeds: 1, uneven: None };
    let experiment = Experiment {
        session: &session,
        settings: &settings,
        tasks: vec![("task".into(), dir.path().join("task"))],
        methods: Method::ALL.to_vec(),
        corrupted: None,
    };
    session.keep_features_in(&dir.path().join("cache"));
    let (mut results, _) = Results::open(&dir.path().join("out"), Shard::default()).expect("results");
    println!("{:<18}{:>12}{:>12}", "method, 5 shots", "training s", "test s");
    let mut trained = 0.0;
    let mut show = |event: Event| {
        if let Event::Done(_, _, run) = event {
            let Run { method, seconds, test_seconds, .. } = run;
            println!("{:<18}{seconds:>12.2}{test_seconds:>12.2}", method.name());
            trained += if method.starts_from().is_some() && !method.is_trained() { 0.0 } else { *seconds };
            trained += if method.is_trained() { *test_seconds } else { 0.0 };
        }
        Flow::GoOn
    };
    let started = std::time::Instant::now();
    block_on(experiment.run(plan.cells(), &mut results, &mut show)).expect("runs");
    println!("one cell, its features of frozen weights included: {:.0} s", started.elapsed().as_secs_f64());
    // Minibatches have 10, 20 and then 32 images.
    let cells = SEEDS * (10.0 / 32.0 + 20.0 / 32.0 + 3.0);
    println!("grid of a task without full-shot runs, about: {:.0} minutes", trained * cells / 60.0);
}

fn session(dir: &Path) -> Session {
    let device = block_on(open(DeviceChoice::Cpu)).expect("the CPU device opens");
    let vit = Vit::init(base(), 0, &device.plain);
    let preprocess = Preprocess::new("bench", Scale::Exact(SIDE, SIDE), None, (SIDE, SIDE)).expect("valid");
    let head = Head::zeros(2, vit.config.feature_dim());
    let labels = ["a".to_string(), "b".into()];
    let model = dir.join("base");
    let files = block_on(model_files("base", (&vit, &head, Precision::F32), &labels, &preprocess));
    files.and_then(|files| Together::of(&model, &files)?.finish()).expect("written");
    let options = ModelOptions::default();
    let mut session =
        block_on(Session::open_dir(DeviceChoice::Cpu, "base", &model, &options)).expect("a session");
    (0..MODULES).for_each(|seed| session.add_module(module(&vit, seed)).expect("fits"));
    session
}

fn base() -> VitConfig {
    VitConfig {
        img_size: (SIDE, SIDE),
        patch_size: (12, 12),
        embed_dim: 192,
        depth: 8,
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

fn module(vit: &Vit, seed: u64) -> LoraModule {
    let mut rng = stream(seed, Purpose::Modules);
    let mut layers = BTreeMap::new();
    for (block, target) in (0..vit.config.depth).flat_map(|block| Target::ALL.map(|target| (block, target))) {
        let [in_dim, out_dim] = vit.blocks[block].linear(target).weight.dims();
        let mut values = |count: usize| (0..count).map(|_| 0.02 * normal(&mut rng)).collect::<Vec<f32>>();
        let (a, b) = (values(4 * in_dim), values(out_dim * 4));
        layers.insert((block, target), LoraLayer { rank: 4, in_dim, out_dim, a, b, scaling: 1.0 });
    }
    LoraModule { name: seed.to_string(), layers, head: None, base_model: None }
}

/// So many stripes of every class.
fn write_images(dir: &Path, count: u32) {
    for class in 0..CLASSES as u32 {
        let folder = dir.join(class.to_string());
        std::fs::create_dir_all(&folder).expect("folder");
        for index in 0..count {
            let light =
                |x: u32, y: u32| (((x * (class + 1) + y * 3 + index * 7) / 5 % 2) * 200 + index) as u8;
            let picture = RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
                Rgb([light(x, y), light(y, x), (20 * class) as u8])
            });
            picture.save(folder.join(format!("{index:03}.png"))).expect("picture");
        }
    }
}
