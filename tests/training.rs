//! A run as those who wait for it see it: every step is told once, also where steps are read back together, and a run that
//! runs away ends with an error.

mod support;

use std::path::Path;

use loraloom::{
    Dataset, DeviceChoice, Method, block_on,
    session::{
        ModelOptions, Session,
        config::AdaptConfig,
        files::Selection,
        progress::{Flow, Progress},
    },
    shipped,
};
use support::{Place, adapters::assert_close, tiny_model, write_task};

fn open(device: DeviceChoice) -> Session {
    let dir = tiny_model();
    block_on(Session::open_dir(device, "tiny", Path::new(&dir), &ModelOptions::default())).expect("opens")
}

fn task(session: &Session, dir: &Path) -> Dataset {
    write_task(dir, &["across", "down"], 0, 6);
    let (data, warnings) = session.load_dataset(dir, None, Selection::All, &mut |_, _| ()).expect("loads");
    assert!(warnings.is_empty());
    data
}

fn config(num_steps: usize) -> AdaptConfig {
    let mut config = AdaptConfig { folds: 0, ..AdaptConfig::default() };
    config.train.num_steps = num_steps;
    config
}

/// Steps that are told, and the losses of the report, when `stop_at` steps are enough.
fn run(device: DeviceChoice, stop_at: usize) -> (Vec<usize>, Vec<f32>) {
    let (session, dir) = (open(device), tempfile::tempdir().expect("a folder"));
    let data = task(&session, dir.path());
    let mut told = Vec::new();
    let mut show = |progress| {
        if let Progress::Step { step, loss, .. } = progress {
            assert!(loss.is_finite());
            told.push(step);
        }
        if told.len() >= stop_at { Flow::Stop } else { Flow::GoOn }
    };
    let (report, _) =
        block_on(session.adapt_method(Method::Lora, &data, None, &config(6), &mut show)).expect("runs");
    (told, report.losses)
}

#[test]
fn a_method_without_steps_is_whole_once_its_folds_begin() {
    let (mut session, dir) = (open(DeviceChoice::Cpu), tempfile::tempdir().expect("a folder"));
    let place = Place::new();
    let module = place.train_module("module", "1");
    session.add_module_dir(Path::new(&module), "module").expect("fits");
    let data = task(&session, dir.path());
    let config = AdaptConfig { folds: 2, ..AdaptConfig::default() };
    for method in [Method::LoraHub, Method::Lora] {
        for (until_folds, cut_short) in [(true, false), (false, true)] {
            let mut show = |progress| match progress {
                Progress::Fold { .. } => Flow::Stop,
                _ if until_folds => Flow::GoOn,
                _ => Flow::Stop,
            };
            let (report, _) =
                block_on(session.adapt_method(method, &data, None, &config, &mut show)).expect("runs");
            assert_eq!((report.stopped, report.cut_short), (true, cut_short), "{}", method.name());
        }
    }
}

#[test]
fn every_step_is_told_once_on_both_devices() {
    let (on_cpu, cpu_losses) = run(DeviceChoice::Cpu, usize::MAX);
    let (on_gpu, gpu_losses) = run(DeviceChoice::Gpu, usize::MAX);
    assert_eq!(on_cpu, [1, 2, 3, 4, 5, 6]);
    assert_eq!(on_gpu, on_cpu);
    assert_eq!((cpu_losses.len(), gpu_losses.len()), (6, 6));
    assert!(
        cpu_losses.iter().zip(&gpu_losses).all(|(a, b)| (a - b).abs() < 1e-2),
        "{cpu_losses:?} {gpu_losses:?}"
    );
}

#[test]
fn a_stopped_run_keeps_the_losses_of_the_steps_that_it_took() {
    assert_eq!(run(DeviceChoice::Cpu, 2).1.len(), 2);
    // On a GPU the question comes after four steps.
    assert_eq!(run(DeviceChoice::Gpu, 2).1.len(), 4);
}

#[test]
fn a_run_that_runs_away_says_what_to_do() {
    let (session, dir) = (open(DeviceChoice::Cpu), tempfile::tempdir().expect("a folder"));
    let data = task(&session, dir.path());
    let mut config = config(6);
    config.train.factor_rate = 1e30;
    config.train.head_rate = 1e30;
    let mut go_on = |_| Flow::GoOn;
    let run = session.adapt_method(Method::Lora, &data, None, &config, &mut go_on);
    let error = block_on(run).map(|_| ()).expect_err("no such numbers").to_string();
    assert!(error.contains("lora") && error.contains("lower the learning rate"), "{error}");
}

#[test]
fn a_lora_that_stays_still_is_the_composition_that_it_starts_from() {
    let base = shipped::find(shipped::EMBEDDED).expect("a base model ships");
    let mut session = block_on(base.open(DeviceChoice::Cpu, &ModelOptions::default())).expect("opens");
    for name in ["digits", "trash"] {
        let mut module = base.module(name).expect("ships");
        // So strong that less of it is clearly better, and another strength than that of the mean is chosen.
        module.layers.values_mut().for_each(|layer| layer.scaling *= 4.0);
        session.add_module(module).expect("fits");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let data = task(&session, dir.path());
    let mut config = config(2);
    config.train.factor_rate = 0.0;
    let features = |method| {
        let mut go_on = |_| Flow::GoOn;
        let run = session.adapt_method(method, &data, None, &config, &mut go_on);
        block_on(run).expect("runs").1.features.images().values.clone()
    };
    for (still, composed) in
        [(Method::UniformLora, Method::Uniform), (Method::UniformScaledLora, Method::UniformScaled)]
    {
        assert_close(&features(still), &features(composed), 1e-5, still.name());
    }
    let scaled = features(Method::UniformScaled);
    assert!(scaled != features(Method::Uniform), "the strength was not chosen");
}
