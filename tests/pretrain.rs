//! Pre-training: a run that is resumed takes the same steps as one that was never stopped.

mod support;

use std::path::Path;

use loraloom::{
    DeviceChoice, Precision, block_on,
    device::{OpenDevice, read},
    files::Together,
    pretrain::{
        Pretrain,
        config::PretrainConfig,
        feed::Feed,
        passes,
        photos::Photos,
        run::{self, RunFiles, RunModels},
        state::{Identity, State},
        teacher::Teacher,
    },
    session::{ModelOptions, Session, export::model_files},
};
use support::{tiny_model, write_task};

fn config() -> PretrainConfig {
    PretrainConfig {
        img_size: 32,
        patch_size: 8,
        embed_dim: 16,
        depth: 1,
        num_heads: 2,
        batch_size: 8,
        epochs: 2.0,
        ..PretrainConfig::default()
    }
}

fn values(run: &Pretrain) -> Vec<f32> {
    let state = &run.state;
    let tensors = state.parameters.values.iter().chain(&state.average);
    tensors.flat_map(|tensor| block_on(read(tensor.clone())).expect("reads back")).collect()
}

fn photos(dir: &Path) -> Photos {
    write_task(&dir.join("photos"), &["across", "down"], 0, 12);
    Photos::read(&[dir.join("photos")], 2).expect("reads").0
}

fn open(dir: &str, side: usize) -> Session {
    let options = ModelOptions { img_size: Some(side), ..ModelOptions::default() };
    block_on(Session::open_dir(DeviceChoice::Cpu, dir, Path::new(dir), &options)).expect("opens")
}

#[test]
fn a_student_comes_nearer_to_its_teacher() {
    let dir = tempfile::tempdir().expect("a folder");
    let photos = photos(dir.path());
    let same_grid = open(&tiny_model(), 32);
    let own = &same_grid.model().vit.config;
    // Other patches than the teacher's: the teacher looks at a larger input with the same grid.
    let config = PretrainConfig {
        img_size: 24,
        patch_size: 6,
        embed_dim: own.embed_dim,
        num_heads: own.num_heads,
        depth: 4,
        epochs: 24.0,
        learning_rate: 3e-3,
        // Nothing but the teacher.
        teacher_weight: 1.0,
        ..config()
    };
    assert_eq!(Teacher::img_size(own, &config.vit()), 32);
    let device = OpenDevice::cpu();
    let learn = |teacher: &Session| {
        let taught = Teacher::new(teacher.model(), &config.vit(), &device).expect("fits");
        let mut run =
            Pretrain::new(config.clone(), &photos, Some(taught), None, device.clone()).expect("starts");
        (0..run.num_steps()).for_each(|_| run.step().expect("steps"));
        let losses = block_on(run.take_losses()).expect("reads back");
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
        assert!(last < 0.8 * first, "{first} -> {last}");
        last
    };
    let finer_grid = open(&tiny_model(), 48);
    assert_ne!(learn(&same_grid), learn(&finer_grid));
    let teacher = same_grid;
    let narrow = PretrainConfig { embed_dim: 16, ..config };
    let refused = Teacher::new(teacher.model(), &narrow.vit(), &device).err().expect("too narrow");
    assert!(refused.to_string().contains("must be the same"), "{refused}");
}

#[test]
fn a_run_goes_on_from_a_model_at_another_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let (photos, device) = (photos(dir.path()), OpenDevice::cpu());
    let mut first = Pretrain::new(config(), &photos, None, None, device.clone()).expect("starts");
    (0..3).for_each(|_| first.step().expect("steps"));
    let (vit, head) = block_on(first.model()).expect("reads back");
    let base = dir.path().join("base");
    let preprocess = config().preprocess().expect("valid");
    let model = (&vit, &head, Precision::F32);
    let saved = block_on(model_files("base", model, &photos.classes, &preprocess)).expect("made");
    Together::of(&base, &saved).and_then(Together::finish).expect("writes");
    let name = base.display().to_string();
    let same = open(&name, 32);
    let again = Pretrain::new(config(), &photos, None, Some(same.model()), device.clone()).expect("starts");
    // Photos of other classes: the same weights, and a head that knows nothing yet.
    write_task(&dir.path().join("others"), &["across", "diagonal", "down"], 0, 3);
    let others = Photos::read(&[dir.path().join("others")], 1).expect("reads").0;
    let with_others = Pretrain::new(config(), &others, None, Some(same.model()), device.clone());
    let mut with_others = with_others.expect("starts");
    assert_eq!(values(&with_others)[..3 * config().embed_dim], vec![0.0; 3 * config().embed_dim]);
    with_others.step().expect("steps");
    let average = |run: &Pretrain| -> Vec<f32> {
        let tensors = run.state.average.iter();
        tensors.flat_map(|tensor| block_on(read(tensor.clone())).expect("reads back")).collect()
    };
    assert_eq!(average(&again), average(&first));
    let larger = PretrainConfig { img_size: 48, ..config() };
    let session = open(&name, 48);
    let mut run =
        Pretrain::new(larger.clone(), &photos, None, Some(session.model()), device.clone()).expect("starts");
    run.step().expect("steps");
    let other = PretrainConfig { depth: 2, ..larger };
    let refused = Pretrain::new(other, &photos, None, Some(session.model()), device).err();
    let refused = refused.expect("deeper").to_string();
    assert!(refused.contains("it has 48 px") && refused.contains("2 blocks"), "{refused}");
}

#[test]
fn a_resumed_run_takes_the_same_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    let photos = photos(dir.path());
    assert_eq!((photos.train.len(), photos.validation.len()), (20, 4));
    let device = OpenDevice::cpu();
    // Order, crops and mixes are drawn again.
    let config = || PretrainConfig { mixup: 0.8, cutmix: 1.0, ..config() };
    let start = || Pretrain::new(config(), &photos, None, None, device.clone()).expect("starts");
    let mut whole = start();
    (0..4).for_each(|_| whole.step().expect("steps"));
    let mut first = start();
    (0..2).for_each(|_| first.step().expect("steps"));
    let checkpoint = dir.path().join("checkpoint.safetensors");
    let identity = |photos: &Photos, teacher, init| {
        block_on(Identity::new(&config(), photos, teacher, init)).expect("reads back")
    };
    let teachers = [open(&tiny_model(), 32), open(&tiny_model(), 48)];
    let [teacher, other] = [0, 1].map(|index: usize| Some(teachers[index].model()));
    block_on(first.state.save(&checkpoint, &identity(&photos, teacher, teacher))).expect("saves");
    let mut resumed = start();
    assert_ne!(values(&resumed), values(&first));
    let own = identity(&photos, teacher, teacher);
    resumed.state = State::load(&checkpoint, &own, &device.plain).expect("loads");
    (0..2).for_each(|_| resumed.step().expect("steps"));
    assert_eq!(values(&resumed), values(&whole));
    let mut fewer = photos.clone();
    fewer.train.swap(0, 19);
    let settings = |change: fn(&mut PretrainConfig)| {
        let mut run = own.clone();
        change(&mut run.config);
        run
    };
    for (run, part) in [
        (settings(|config| config.learning_rate = 0.1), "and this one has 0.1; use"),
        (settings(|config| config.mixup = 0.0), "a run with mixup 0.8, and this one has 0.0"),
        (identity(&photos, None, teacher), "another teacher"),
        (identity(&photos, other, teacher), "another teacher"),
        (identity(&photos, teacher, other), "another --init"),
        (identity(&fewer, teacher, teacher), "other photos"),
    ] {
        let error = State::load(&checkpoint, &run, &device.plain).err().expect("another run").to_string();
        assert!(error.contains(part) && error.contains("checkpoint.safetensors"), "{part}: {error}");
    }
}

#[test]
fn a_run_that_is_stopped_is_not_measured_until_it_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let photos = photos(dir.path());
    let files = RunFiles { out: dir.path().join("out"), checkpoint_minutes: 60.0 };
    let (config, device) = (config(), OpenDevice::cpu());
    // Told of a part of the work, whether to go on.
    let train = |go_on: fn(&str) -> bool| {
        let mut parts = Vec::new();
        let mut show = |part: &'static str, _: usize, _: usize| {
            parts.push(part);
            go_on(part)
        };
        let run = run::run(&config, &photos, &files, RunModels::default(), &device, &mut show);
        let report = block_on(run).expect("runs");
        parts.dedup();
        (report.steps, report.student.is_some(), parts)
    };
    assert_eq!(train(|_| false), (1, false, vec!["steps"]));
    assert_eq!(
        train(|part| part == "steps"),
        (5, false, vec!["steps", "validation"]),
        "stopped while measured"
    );
    assert_eq!(train(|_| true), (5, true, vec!["validation"]), "the steps are done");
}

#[test]
fn what_is_kept_for_validation_is_not_learned() {
    let dir = tempfile::tempdir().expect("a folder");
    let classes = ["across", "down"];
    for (folder, count) in [("one", 6), ("two", 4)] {
        write_task(&dir.path().join(folder), &classes, 0, count);
    }
    // Of the ten photos of a class the last two by name are those of "two", which are in "one" as well.
    let both = ["one", "two"].map(|folder| dir.path().join(folder));
    let (photos, warnings) = Photos::read(&both, 2).expect("reads");
    assert_eq!((photos.train.len(), photos.validation.len()), (12, 4));
    assert!(
        warnings.len() == 1 && warnings[0].to_string().contains("4 of 16 training images"),
        "{warnings:?}"
    );
    let packed = dir.path().join("photos.tar.gz");
    std::fs::write(&packed, b"\x1f\x8b\x08\0").expect("writes");
    let error = Photos::read(&[packed], 2).expect_err("no tar file").to_string();
    assert!(error.contains("compressed with gzip") && error.contains("unpack it"), "{error}");
    let picture = dir.path().join("picture.png");
    std::fs::write(&picture, [&b"\x89PNG\r\n\x1a\n"[..], &[7; 2000]].concat()).expect("writes");
    let error = Photos::read(&[picture], 2).expect_err("no tar file").to_string();
    assert!(error.contains("it is no tar file; give a folder"), "{error}");
}

#[test]
fn the_labels_of_mixed_photos_are_those_of_both() {
    let dir = tempfile::tempdir().expect("a folder");
    let (photos, device) = (photos(dir.path()), OpenDevice::cpu());
    let labels = |change: PretrainConfig| -> Vec<f32> {
        let feed = Feed::new(&PretrainConfig { label_smoothing: 0.1, ..change }, &photos).expect("valid");
        block_on(read(feed.batch(0, &device.plain).expect("reads").labels)).expect("reads back")
    };
    let alone = labels(config());
    assert!(alone.iter().all(|value| [0.05f32, 0.95].iter().any(|own| (value - own).abs() < 1e-6)));
    let mixed = labels(PretrainConfig { mixup: 0.8, cutmix: 1.0, ..config() });
    assert!(
        mixed.chunks(2).all(|row| (row[0] + row[1] - 1.0).abs() < 1e-6 && row[0] > 0.049 && row[1] > 0.049)
    );
    assert!(mixed.iter().any(|value| (0.1..0.9).contains(value)), "{mixed:?}");
    let refused = PretrainConfig { cutmix: -1.0, ..config() }.check().expect_err("refused").to_string();
    assert!(refused.contains("--cutmix"), "{refused}");
}

#[test]
fn too_few_photos_give_no_few_shot_figure() {
    let rows = |labels: Vec<usize>| loraloom::head::Features {
        dim: 1,
        values: labels.iter().map(|label| *label as f32).collect(),
        labels,
    };
    let few = rows((0..5).flat_map(|class| [class; 19]).collect());
    assert_eq!(passes::few_shot_accuracy(&few, 5, 5, 10, 0), None);
    let enough = rows((0..5).flat_map(|class| [class; 20]).collect());
    assert_eq!(passes::few_shot_accuracy(&enough, 5, 5, 10, 0), Some((1.0, 0.0)));
}

#[test]
fn mixed_precision_learns_as_single_precision_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let photos = photos(dir.path());
    // Sixteen images: their rows are multiplied in groups.
    let single = PretrainConfig { batch_size: 16, ..config() };
    let mixed = PretrainConfig { mixed_precision: true, ..single.clone() };
    let on_cpu = Pretrain::new(mixed.clone(), &photos, None, None, OpenDevice::cpu());
    let refused = on_cpu.expect("starts").step().expect_err("no half precision").to_string();
    assert!(refused.contains("--mixed-precision"), "{refused}");
    let gpu = block_on(loraloom::open_device(DeviceChoice::Gpu)).expect("a GPU, in software at least");
    let losses = |config: &PretrainConfig| {
        let mut run = Pretrain::new(config.clone(), &photos, None, None, gpu.clone()).expect("starts");
        let start = values(&run);
        (0..4).for_each(|_| run.step().expect("steps"));
        let moved: Vec<f32> = values(&run).iter().zip(&start).map(|(end, start)| end - start).collect();
        (block_on(run.take_losses()).expect("reads back"), moved)
    };
    let ((single, single_moved), (mixed, mixed_moved)) = (losses(&single), losses(&mixed));
    assert_ne!(single_moved, mixed_moved);
    for (single, mixed) in single.iter().zip(&mixed) {
        assert!((single - mixed).abs() < 0.01 * single, "{single} {mixed}");
    }
    // A gradient of another direction would move the values elsewhere; AdamW would hide one of another length.
    let dot = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f32>();
    let lengths = dot(&single_moved, &single_moved) * dot(&mixed_moved, &mixed_moved);
    let cosine = dot(&single_moved, &mixed_moved) / lengths.sqrt();
    assert!(cosine > 0.95, "{cosine}");
}
