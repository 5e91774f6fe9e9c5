//! What one session learned answers the same in another one of the same model and modules.

mod support;

use loraloom::{
    Dataset, DeviceChoice, Dialect, LoraModule, Method, block_on,
    dataset::folds,
    report::{MethodReport, TestAnswer},
    session::{
        ModelFiles, ModelOptions, Session,
        adapted::Adapted,
        config::{AdaptConfig, Refit},
        export::TaskForm,
        files::Selection,
        handover::Handover,
        progress::Flow,
        task::TaskFile,
    },
    shipped,
};
use support::{adapters::assert_close, write_task};

const MODULES: [&str; 2] = ["digits", "trash"];

fn open(modules: &[&str]) -> Session {
    let base = shipped::find(shipped::EMBEDDED).expect("a base model ships");
    let mut session = block_on(base.open(DeviceChoice::Cpu, &ModelOptions::default())).expect("opens");
    for name in modules {
        session.add_module(base.module(name).expect("ships")).expect("fits");
    }
    session
}

fn task(session: &Session) -> Dataset {
    task_of(session, 3)
}

fn task_of(session: &Session, images_per_class: usize) -> Dataset {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(dir.path(), &["across", "down"], 0, images_per_class);
    session.load_dataset(dir.path(), None, Selection::All, &mut |_, _| ()).expect("loads").0
}

fn config() -> AdaptConfig {
    let mut config = AdaptConfig { folds: 0, ..AdaptConfig::default() };
    config.train.num_steps = 2;
    config
}

fn learn(session: &Session, method: Method, data: &Dataset) -> Adapted {
    let run = block_on(session.adapt_method(method, data, None, &config(), &mut |_| Flow::GoOn));
    run.expect("runs").1
}

/// As it goes from worker to worker.
fn sent(adapted: &Adapted) -> Handover {
    let text = serde_json::to_string(&adapted.hand_over().expect("was trained")).expect("writes");
    serde_json::from_str(&text).expect("reads")
}

/// Two sessions say the same of all images.
fn assert_same_answers(before: (&Session, &Adapted), after: (&Session, &Adapted), data: &Dataset) {
    for example in &data.examples {
        let [before, after] = [before, after].map(|(session, adapted)| {
            block_on(session.answers(&[(adapted, &data.classes)], example, false))
                .expect("answers")
                .remove(0)
                .top
        });
        assert_eq!(after[0].label, before[0].label, "{}", example.name);
        assert_close(&[after[0].probability], &[before[0].probability], 1e-4, &example.name);
    }
}

#[test]
fn every_trained_method_goes_on_in_another_session() {
    let (first, second) = (open(&MODULES), open(&MODULES));
    let data = task(&first);
    let mut tested = 0;
    for method in Method::ALL.into_iter().filter(|method| method.is_trained()) {
        let learned = learn(&first, method, &data);
        let taken = second.take_over(&sent(&learned), &config()).expect("fits");
        let name = method.name();
        assert_eq!(taken.head, learned.head, "{name}");
        assert_eq!(taken.losses, learned.losses, "{name}");
        assert_eq!(taken.trainable_parameters, learned.trainable_parameters, "{name}");
        assert_eq!(taken.coefficients, learned.coefficients, "{name}");
        assert_eq!(taken.scale, learned.scale, "{name}");
        // Its weights, by what they make of pictures.
        let anew = block_on(second.adapted_features(&taken, &data.examples)).expect("passes");
        assert_close(&anew.values, &learned.features.images().values, 1e-5, name);
        assert_eq!(taken.features.images().values, learned.features.images().values, "{name}");
        let saved =
            |session: &Session, adapted: &Adapted| session.module_at_rank(adapted, None).map(|(own, _)| own);
        match (saved(&first, &learned), saved(&second, &taken)) {
            (Ok(ours), Ok(theirs)) => assert_eq!(theirs.layers, ours.layers, "{name}"),
            (Err(_), Err(_)) => assert_eq!(method, Method::Full, "only full fine-tuning is no LoRA"),
            _ => panic!("{name} can be saved in one session only"),
        }
        tested += 1;
    }
    assert_eq!(tested, 9);
}

#[test]
fn what_is_saved_as_an_adapter_answers_and_is_saved_as_before() {
    let (first, second) = (open(&MODULES), open(&[]));
    let data = task(&first);
    let mut tested = 0;
    for method in Method::ALL.into_iter().filter(|method| *method != Method::Full) {
        let (name, learned) = (method.name(), learn(&first, method, &data));
        let save = |session: &Session, adapted: &Adapted| {
            let form = TaskForm::Adapter(None);
            block_on(session.task_files(adapted, &data.classes, form, Dialect::New)).expect("saves").files
        };
        let files = save(&first, &learned);
        let config = String::from_utf8(files[1].1.clone()).expect("text");
        let (module, _) = LoraModule::from_bytes(name, &config, &files[0].1).expect("loads");
        // It needs no modules.
        let task =
            TaskFile::parse("task.json", std::str::from_utf8(&files[2].1).expect("text")).expect("reads");
        let again = block_on(second.take_back(&task, Some(module.clone()))).expect("fits");
        let other = TaskFile { model_sha256: Some("0".repeat(64)), ..task.clone() };
        let older = TaskFile { model_sha256: None, ..task.clone() };
        assert!(block_on(second.take_back(&older, Some(module.clone()))).is_ok(), "{name}");
        let unknown = TaskFile { model: "some/one".into(), ..older };
        let third = TaskFile { classes: vec!["one".into(); 3], ..task.clone() };
        let headless = LoraModule { head: None, ..module.clone() };
        for (task, module, part) in [
            (&other, Some(module.clone()), "another version"),
            (&unknown, Some(module.clone()), "does not say on which version"),
            (&task, Some(headless), "knows no classes"),
            (&third, Some(module), "names 3 classes"),
            (&task, None, "adapter is missing"),
        ] {
            let error = block_on(second.take_back(task, module)).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_same_answers((&first, &learned), (&second, &again), &data);
        assert!(save(&second, &again) == files, "{name} is saved otherwise");
        tested += 1;
    }
    assert_eq!(tested, 14);
}

#[test]
fn a_whole_model_that_was_saved_answers_and_is_saved_as_before() {
    let session = open(&MODULES);
    let data = task(&session);
    for method in [Method::Learned, Method::Full] {
        let (name, learned) = (method.name(), learn(&session, method, &data));
        let save = |session: &Session, adapted: &Adapted| {
            let files = session.task_files(adapted, &data.classes, TaskForm::Merged, Dialect::New);
            block_on(files).expect("saves").files
        };
        let files = save(&session, &learned);
        let text = |index: usize| std::str::from_utf8(&files[index].1).expect("text");
        let model = ModelFiles {
            name: &session.model().name,
            config: text(2),
            preprocessor: Some(text(1)),
            weights: &files[0].1,
        };
        let options = ModelOptions::default();
        let second = block_on(Session::open(DeviceChoice::Cpu, model, &options)).expect("opens");
        let again = block_on(second.take_back(&TaskFile::parse("task.json", text(3)).expect("reads"), None));
        let again = again.expect("answers");
        assert_same_answers((&session, &learned), (&second, &again), &data);
        assert!(save(&second, &again) == files, "{name} is saved otherwise");
        // An adapter for it changes nothing but the head, and there is none after full fine-tuning.
        let module = second.module_at_rank(&again, None).map(|(module, _)| module.changes_nothing());
        assert_eq!(module.ok(), (method != Method::Full).then_some(true), "{name}");
    }
}

#[test]
fn held_out_images_say_how_sure_a_method_may_be() {
    let session = open(&MODULES);
    let mut data = task_of(&session, 4);
    // Who has not seen a picture cannot know its class.
    data.examples.iter_mut().enumerate().for_each(|(index, example)| example.class = index % 2);
    for method in [Method::NearestMean, Method::LinearProbe, Method::Uniform, Method::Learned] {
        for refit in [Refit::Never, Refit::Always] {
            let run = |folds| {
                let config = AdaptConfig { folds, refit, ..config() };
                let go_on = &mut |_| Flow::GoOn;
                let run = session.adapt_method(method, &data, Some(&data), &config, go_on);
                block_on(run).expect("runs")
            };
            let ((sure, raw), (unsure, cooled)) = (run(0), run(2));
            assert_eq!(sure.temperature, None);
            let temperature = unsure.temperature.expect("held out");
            assert!(temperature > 1.1, "{}: {temperature}", method.name());
            assert_close(&cooled.head.weight, &raw.head.cooled(temperature).weight, 1e-5, method.name());
            let answers = |report: &MethodReport| report.answers.clone().expect("was tested");
            for (before, after) in answers(&sure).iter().zip(answers(&unsure)) {
                let highest = |answer: &TestAnswer| answer.probabilities.iter().copied().fold(0.0, f32::max);
                assert!(highest(&after) < highest(before), "{}", method.name());
            }
        }
    }
}

#[test]
fn a_mix_that_a_person_changes_is_computed_and_saved_as_shown() {
    let session = open(&MODULES);
    let data = task(&session);
    let learned = learn(&session, Method::Learned, &data);
    let mixed = |factors: &[f32]| session.reweighted(&learned, factors, &config()).expect("a mix");
    let features = |session: &Session, adapted: &Adapted| {
        block_on(session.adapted_features(adapted, &data.examples)).expect("passes").values
    };
    let same = mixed(&[1.0, 1.0]);
    assert_close(&features(&session, &same), &features(&session, &learned), 1e-5, "factors of one");
    let weights = |adapted: &Adapted| adapted.coefficients.as_ref().expect("a composition").weights.concat();
    assert_close(&weights(&same), &weights(&learned), 1e-6, "weights");
    // One module alone keeps the sum of the weights, 1: the mean of a library of nothing else.
    let alone = mixed(&[0.0, 3.0]);
    let own = open(&MODULES[1..]);
    let mean = learn(&own, Method::Uniform, &data);
    assert_close(&features(&session, &alone), &features(&own, &mean), 1e-5, "one module");
    assert_ne!(features(&session, &alone), features(&session, &learned));
    assert_eq!(alone.head, learned.head, "the head stays");
    let (saved, _) = session.module_at_rank(&alone, None).expect("a LoRA");
    let shipped = shipped::find(shipped::EMBEDDED).expect("ships").module(MODULES[1]).expect("ships");
    for (key, layer) in &shipped.layers {
        assert_close(&saved.layers[key].delta(), &layer.delta(), 1e-6, "saved update");
    }
    for (adapted, factors, part) in [
        (&learned, &[1.0][..], "1 factors for 2 modules"),
        (&learn(&session, Method::Lora, &data), &[1.0, 1.0], "composes no modules"),
        (&learn(&session, Method::LearnedLora, &data), &[1.0, 1.0], "no mix"),
    ] {
        let error = session.reweighted(adapted, factors, &config()).expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_was_learned_answers_as_before_when_the_modules_change() {
    let mut session = open(&MODULES);
    let data = task(&session);
    let methods =
        [Method::LinearProbe, Method::Uniform, Method::UniformScaled, Method::BestModule, Method::Learned];
    let learned = methods.map(|method| learn(&session, method, &data));
    let assert_answers = |session: &Session, when: &str| {
        for own in &learned {
            let features = block_on(session.adapted_features(own, &data.examples)).expect("passes");
            assert_close(
                &features.values,
                &own.features.images().values,
                1e-5,
                &format!("{} {when}", own.method.name()),
            );
        }
    };
    let mixed =
        |session: &Session| session.reweighted(&learned[4], &[1.0, 2.0], &config()).map(|own| own.head);
    session.remove_module(MODULES[0]).expect("is there");
    assert_answers(&session, "with one module less");
    session
        .add_module(shipped::find(shipped::EMBEDDED).expect("ships").module("vehicles").expect("ships"))
        .expect("fits");
    assert_answers(&session, "with another module");
    let error = mixed(&session).expect_err("other modules").to_string();
    assert!(error.contains("modules have changed"), "{error}");
    for name in session.module_names() {
        session.remove_module(&name).expect("is there");
    }
    assert_answers(&session, "without modules");
    for name in MODULES {
        session
            .add_module(shipped::find(shipped::EMBEDDED).expect("ships").module(name).expect("ships"))
            .expect("fits");
    }
    assert_answers(&session, "with its modules again");
    assert_eq!(mixed(&session).expect("its modules"), learned[4].head);
}

#[test]
fn what_does_not_fit_is_refused() {
    let session = open(&MODULES);
    let data = task(&session);
    let learned = learn(&session, Method::Learned, &data);
    let error = open(&MODULES[..1]).take_over(&sent(&learned), &config()).expect_err("one module less");
    assert!(error.to_string().contains("other modules"), "{error}");
    let error = open(&[]).take_over(&sent(&learned), &config()).expect_err("no modules");
    assert!(error.to_string().contains("modules"), "{error}");
    let probe = learn(&session, Method::LinearProbe, &data);
    let error = probe.hand_over().expect_err("nothing but a head was trained");
    assert!(error.to_string().contains("linear-probe"), "{error}");
}

#[test]
fn a_fold_is_answered_by_a_run_that_has_not_seen_it() {
    let session = open(&MODULES);
    let mut data = task_of(&session, 4);
    // Half of each class is striped across and half down: only who has seen a picture knows its class.
    data.examples.iter_mut().enumerate().for_each(|(index, example)| example.class = index % 2);
    let labels: Vec<usize> = data.examples.iter().map(|example| example.class).collect();
    let config = AdaptConfig { folds: 2, ..config() };
    let fold = folds(&labels, config.folds, config.train.seed).swap_remove(0);
    let (mut held, mut rest) = (data.clone(), data.clone());
    held.examples = fold.iter().map(|index| data.examples[*index].clone()).collect();
    let is_held = |index: &usize| fold.contains(index);
    rest.examples =
        (0..8).filter(|index| !is_held(index)).map(|index| data.examples[index].clone()).collect();
    let methods = Method::ALL.into_iter().filter(|method| method.is_trained() || *method == Method::LoraHub);
    let (mut tested, mut wrong) = (0, 0);
    for method in methods {
        let go_on = &mut |_| Flow::GoOn;
        let found = block_on(session.fold(method, 0, &data, &config, go_on)).expect("runs").expect("a fold");
        let hits = |refit| {
            let config = AdaptConfig { folds: 0, refit, ..config.clone() };
            let go_on = &mut |_| Flow::GoOn;
            let run = session.adapt_method(method, &rest, Some(&held), &config, go_on);
            let counts = block_on(run).expect("runs").0.confusion.expect("was tested");
            counts[0][0] + counts[1][1]
        };
        let by_hand = [hits(Refit::Never), hits(Refit::Always)];
        assert_eq!([found.hits(false), found.hits(true)], by_hand, "{}", method.name());
        assert_eq!(found.labels.len(), 4);
        (tested, wrong) = (tested + 1, wrong + 8 - by_hand[0] - by_hand[1]);
    }
    assert_eq!(tested, 10);
    assert!(wrong > tested * 2, "{wrong} wrong answers of {}: these could have been seen", tested * 8);
}

#[test]
fn folds_that_others_run_give_the_same_estimate() {
    let (first, second) = (open(&MODULES), open(&MODULES));
    let data = task(&first);
    let config = AdaptConfig { folds: 2, ..config() };
    for method in [Method::Learned, Method::Lora] {
        let run = |folds| {
            let mut go_on = |_| Flow::GoOn;
            block_on(first.adapt_with(folds, method, &data, None, &config, &mut go_on)).expect("runs").0
        };
        let own = run(None);
        let elsewhere = async {
            let mut found = Vec::new();
            for index in 0..config.folds {
                found.extend(second.fold(method, index, &data, &config, &mut |_| Flow::GoOn).await?);
            }
            Ok(Some(found))
        };
        let shared = run(Some(Box::pin(elsewhere)));
        assert_eq!(shared.held_out_folds, 2);
        assert_eq!(
            (shared.held_out_accuracy, shared.held_out_interval),
            (own.held_out_accuracy, own.held_out_interval)
        );
        assert_eq!((shared.head_refitted, shared.stopped), (own.head_refitted, false));
    }
    let none = block_on(second.fold(Method::Lora, 2, &data, &config, &mut |_| Flow::GoOn)).expect("runs");
    assert_eq!(none, None, "there are two folds");
    let stopped = block_on(second.fold(Method::Lora, 0, &data, &config, &mut |_| Flow::Stop)).expect("runs");
    assert_eq!(stopped, None);
}

#[test]
fn folds_that_others_stopped_are_no_estimate() {
    let session = open(&MODULES);
    let data = task(&session);
    let config = AdaptConfig { folds: 2, ..config() };
    let folds = Box::pin(async { Ok(None) });
    let mut go_on = |_| Flow::GoOn;
    let run = session.adapt_with(Some(folds), Method::Lora, &data, None, &config, &mut go_on);
    let report = block_on(run).expect("runs").0;
    assert!(report.stopped && report.held_out_accuracy.is_none());
}
