//! Pre-training: a run that is resumed takes the same steps as one that was never stopped.

mod support;

use loraloom::{
    block_on,
    device::{OpenDevice, read},
    pretrain::{Pretrain, PretrainConfig, passes, photos::Photos, state::State},
};
use support::write_task;

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

#[test]
fn a_resumed_run_takes_the_same_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(&dir.path().join("photos"), &["across", "down"], 0, 12);
    let photos = Photos::read(&[dir.path().join("photos")], 2).expect("reads");
    assert_eq!((photos.train.len(), photos.validation.len()), (20, 4));
    let device = OpenDevice::cpu();
    let start = || Pretrain::new(config(), &photos, None, device.clone()).expect("starts");
    let mut whole = start();
    (0..4).for_each(|_| whole.step().expect("steps"));
    let mut first = start();
    (0..2).for_each(|_| first.step().expect("steps"));
    let checkpoint = dir.path().join("checkpoint.safetensors");
    block_on(first.state.save(&checkpoint, &config())).expect("saves");
    let mut resumed = start();
    assert_ne!(values(&resumed), values(&first));
    resumed.state = State::load(&checkpoint, &config(), &device.plain).expect("loads");
    (0..2).for_each(|_| resumed.step().expect("steps"));
    assert_eq!(values(&resumed), values(&whole));
    let other = PretrainConfig { learning_rate: 0.1, ..config() };
    let refused = State::load(&checkpoint, &other, &device.plain).err().expect("other settings");
    assert!(refused.to_string().contains("other settings"), "{refused}");
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
