//! Saved tasks: what `predict` says is what `adapt` measured, whatever the folder held before.

mod support;

use std::{collections::BTreeMap, fs, path::Path};

use loraloom::{
    DeviceChoice, Dialect, Method, block_on,
    session::{
        ModelOptions, Session, config::AdaptConfig, export::TaskForm, files::Selection, progress::Flow,
    },
};
use support::{
    CLASSES, Place, golden, json, run, succeed,
    tasks::{adapt, compose, difference, save},
    tiny_model,
};

#[test]
fn a_model_with_an_oblong_input_is_saved_with_both_sides() {
    let place = Place::new();
    let model = place.own_model("model");
    let size = r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 64}}"#;
    fs::write(format!("{model}/preprocessor_config.json"), size).expect("writes");
    for method in ["nearest-mean", "full"] {
        let task = place.path(method);
        let report = adapt(&place, &model, method, &task);
        let apart = difference(&place, &report, &task);
        assert!(apart < 1e-4, "{method}: {apart}");
    }
}

#[test]
fn all_weights_of_a_gated_model_are_saved_so_that_they_load() {
    let place = Place::new();
    let model = golden("models/dinov2-swiglu").display().to_string();
    let task = place.path("task");
    let report = adapt(&place, &model, "full", &task);
    let apart = difference(&place, &report, &task);
    assert!(apart < 1e-4, "{apart}");
    let ratio = |dir: &str| json(&Path::new(dir).join("config.json"))["mlp_ratio"].clone();
    assert_eq!(ratio(&task), ratio(&model));
}

/// Two modules so strong that whatever is done to them shows.
fn strong_modules(place: &Place) -> [String; 2] {
    ["1", "2"].map(|seed| {
        let module = place.train_module(&format!("module-{seed}"), seed);
        let path = format!("{module}/adapter_config.json");
        let mut config = json(Path::new(&path));
        config["lora_alpha"] = (20.0 * config["lora_alpha"].as_f64().expect("a number")).into();
        fs::write(&path, config.to_string()).expect("writes");
        module
    })
}

#[test]
fn every_composition_is_saved_as_it_was_measured() {
    let place = Place::new();
    let modules = strong_modules(&place);
    let modules = [modules[0].as_str(), modules[1].as_str()];
    let base = adapt(&place, &tiny_model(), "linear-probe", &place.path("linear-probe"));
    for method in Method::ALL.into_iter().filter(|method| method.needs_modules()) {
        let task = place.path(method.name());
        let report = compose(&place, &tiny_model(), method.name(), &modules, &task);
        let apart = difference(&place, &report, &task);
        assert!(apart < 1e-4, "{method:?}: {apart}");
        let answers = |report: &serde_json::Value| report["methods"][0]["answers"].clone();
        assert_ne!(answers(&report), answers(&base), "{method:?}: the modules do nothing");
    }
    // What has the weight zero takes no rank.
    let best = json(Path::new(&place.path("best-module/adapter_config.json")));
    assert_eq!(best["r"], 2, "the rank of one module");
}

#[test]
fn a_merged_task_is_a_model_that_answers_without_its_base() {
    let place = Place::new();
    let [module, other] = strong_modules(&place);
    for method in ["linear-probe", "uniform", "learned+lora", "full"] {
        let (base, task) = (place.own_model("base"), place.path(method));
        let how = ["--merged", "--save", &task, "--modules", &module, &other];
        let report = save(&place, &base, method, &how);
        fs::remove_dir_all(&base).expect("is there");
        let apart = difference(&place, &report, &task);
        assert!(apart < 1e-4, "{method}: {apart}");
        // As for any model, its own head answers, by the names of the classes.
        let picture = place.path(&format!("test/{}/010.png", CLASSES[0]));
        let text = succeed(&["classify", "--model", &task, "--device", "cpu", &picture]);
        assert!(CLASSES.iter().any(|class| text.contains(class)), "{text}");
    }
    // Of one folder a task in the other form takes the place, and the other way round.
    let task = place.path("uniform");
    let report = adapt(&place, &tiny_model(), "lora", &task);
    assert!(!Path::new(&task).join("model.safetensors").exists());
    assert!(difference(&place, &report, &task) < 1e-4);
    let report = save(&place, &tiny_model(), "lora", &["--merged", "--save", &task, "--modules", "none"]);
    assert!(!Path::new(&task).join("adapter_model.safetensors").exists());
    assert!(difference(&place, &report, &task) < 1e-4);
}

#[test]
fn test_images_choose_nothing() {
    let place = Place::new();
    let modules = strong_modules(&place);
    let (train, test, out) = (place.path("train"), place.path("test"), place.path("out.json"));
    let run = |more: &[&str]| {
        let task = place.path("chosen");
        let how = ["--device", "cpu", "--steps", "3", "--methods", "all", "--save", &task, "--json", &out];
        let modules = ["--modules", &modules[0], &modules[1]];
        let model = tiny_model();
        succeed(&[&["adapt", "--model", &model, "--train", &train], &how[..], &modules[..], more].concat());
        let mut methods = json(Path::new(&out))["methods"].as_array().expect("methods").clone();
        for method in &mut methods {
            let measured = |key: &String| {
                key.starts_with("test") || key.contains("seconds") || key == "answers" || key == "confusion"
            };
            method.as_object_mut().expect("fields").retain(|key, _| !measured(key));
        }
        (methods, json(&Path::new(&task).join("task.json"))["method"].clone())
    };
    let (methods, saved) = run(&["--test", &test]);
    assert_eq!((methods.clone(), saved.clone()), run(&[]));
    assert_eq!(json(Path::new(&out))["suggested"], saved);
    let number = |value: &serde_json::Value| value.as_f64().expect("held out");
    let accuracy = |method: &serde_json::Value| number(&method["held_out_accuracy"]);
    let error = |method: &serde_json::Value| {
        let ends = &method["held_out_interval"];
        (number(&ends[1]) - number(&ends[0])) / (2.0 * 1.96)
    };
    let rivals = methods.iter().filter(|method| method["method"] != "random-modules");
    let best = rivals.max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))).expect("methods");
    let own = methods.iter().find(|method| method["method"] == saved).expect("one of them");
    assert!(
        accuracy(own) >= accuracy(best) - error(best),
        "what was saved is near the best on held-out images"
    );
}

#[test]
fn another_method_replaces_what_a_folder_held() {
    let place = Place::new();
    let task = place.path("task");
    let files = |names: [&str; 2]| names.map(|name| Path::new(&task).join(name).exists());
    for (method, adapter, model) in
        [("lora", true, false), ("full", false, true), ("nearest-mean", true, false)]
    {
        let report = adapt(&place, &tiny_model(), method, &task);
        assert_eq!(files(["adapter_config.json", "adapter_model.safetensors"]), [adapter; 2], "{method}");
        assert_eq!(files(["config.json", "model.safetensors"]), [model; 2], "{method}");
        assert!(difference(&place, &report, &task) < 1e-4, "{method}");
    }
}

#[test]
fn a_task_that_cannot_be_written_leaves_the_earlier_one() {
    let place = Place::new();
    let (task, kept) = (place.path("task"), place.path("kept.json"));
    let report = adapt(&place, &tiny_model(), "full", &task);
    let preprocessor = format!("{task}/preprocessor_config.json");
    fs::rename(&preprocessor, &kept)
        .and_then(|()| fs::create_dir(&preprocessor))
        .expect("a folder in the way");
    let (code, _, err) = place.adapt(&["--methods", "full", "--modules", "none", "--save", &task]);
    assert!(code == 2 && err.contains("preprocessor_config.json") && err.contains("remove it"), "{err}");
    fs::remove_dir(&preprocessor).and_then(|()| fs::rename(&kept, &preprocessor)).expect("as it was");
    assert!(difference(&place, &report, &task) < 1e-4, "what was there is there");
    assert_eq!(fs::read_dir(&task).expect("lists").count(), 4, "and nothing else");
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_does_not_cost_the_earlier_task() {
    let place = Place::new();
    let (task, train, model) = (place.path("task"), place.path("train"), tiny_model());
    for (method, other) in [("nearest-mean", "lora"), ("nearest-mean", "full"), ("full", "lora")] {
        let report = adapt(&place, &model, method, &task);
        // The signal would end the process before the error reaches it.
        let limited = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
        let folders = ["--model", &model, "--train", &train, "--save", &task, "--modules", "none"];
        let output = std::process::Command::new("sh")
            .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_loraloom"), "adapt", "--device", "cpu"])
            .args(folders)
            .args(["--methods", other, "--steps", "1", "--folds", "0"])
            .output()
            .expect("runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && err.contains("cannot write"), "{other}: {err}");
        assert!(difference(&place, &report, &task) < 1e-4, "{other}: what was there is there");
    }
}

#[test]
fn a_model_that_cannot_be_saved_is_refused_before_it_is_trained_and_costs_nothing() {
    let place = Place::new();
    let (task, model) = (place.path("task"), golden("models/timm-deit3").display().to_string());
    let report = adapt(&place, &tiny_model(), "nearest-mean", &task);
    let (train, how) =
        (place.path("train"), ["--methods", "lora,full", "--modules", "none", "--device", "cpu"]);
    let folders = ["--train", &train, "--save", &task];
    let (code, text, err) = run(&[&["adapt", "--model", &model], &folders[..], &how[..]].concat());
    assert!(code == 2 && text.is_empty(), "{text}");
    assert!(err.contains("timm-deit3") && err.contains("save an adapter of another method"), "{err}");
    assert!(difference(&place, &report, &task) < 1e-4, "what was there is there");
    // Who names no method gets all others.
    let own = place.path("others");
    let auto = ["--modules", "none", "--device", "cpu", "--steps", "1", "--folds", "0", "--save", &own];
    let (code, text, err) = run(&[&["adapt", "--model", &model, "--train", &train], &auto[..]].concat());
    assert!(code == 1 && err.contains("without `full`") && text.contains("saved "), "{text}{err}");
    // Nor is any method a whole model then.
    let merged = [&["adapt", "--model", &model, "--train", &train, "--merged"], &auto[..]].concat();
    let (code, _, err) = run(&merged);
    assert!(code == 2 && err.contains("timm-deit3") && err.contains("without merging"), "{err}");
    // Nor does who trains it anyway lose what was there.
    let (device, options) = (DeviceChoice::Cpu, ModelOptions::default());
    let session = block_on(Session::open_dir(device, &model, Path::new(&model), &options)).expect("opens");
    let (train, _) =
        session.load_dataset(Path::new(&train), None, Selection::All, &mut |_, _| ()).expect("images");
    let mut config = AdaptConfig { folds: 0, ..AdaptConfig::default() };
    config.train.num_steps = 1;
    let mut go_on = |_| Flow::GoOn;
    let run = session.adapt_method(Method::Full, &train, None, &config, &mut go_on);
    let (_, adapted) = block_on(run).expect("trains");
    let saved = block_on(session.save_task(
        &adapted,
        &train.classes,
        TaskForm::Adapter(None),
        Dialect::New,
        Path::new(&task),
    ));
    assert!(saved.is_err_and(|error| error.to_string().contains("save an adapter")));
    assert!(difference(&place, &report, &task) < 1e-4, "what was there is still there");
}

#[test]
fn a_task_says_when_the_model_is_not_its_own() {
    let place = Place::new();
    let task = place.path("task");
    adapt(&place, &tiny_model(), "nearest-mean", &task);
    let picture = place.path(&format!("test/{}/010.png", CLASSES[0]));
    let predict = ["predict", "--task", &task, "--device", "cpu", &picture, "--model"];
    // The same weights by another name are the same model.
    succeed(&[&predict[..], &[&place.own_model("copy")]].concat());
    let other = golden("models/vit-f16").display().to_string();
    let (code, text, err) = run(&[&predict[..], &[&other]].concat());
    assert!(code == 1 && text.contains("010.png") && err.contains("another model"), "{text}{err}");
    // Nor is it where it was.
    let (model, moved) = (place.own_model("own"), place.path("moved"));
    adapt(&place, &model, "nearest-mean", &task);
    fs::rename(&model, &moved).expect("moves");
    let (code, _, err) = run(&predict[..predict.len() - 1]);
    assert!(code == 2 && err.contains("--model") && err.contains("say where it is now"), "{err}");
    succeed(&[&predict[..], &[&moved]].concat());
}

#[test]
fn an_adapter_is_not_saved_beside_the_model_in_use_which_stays() {
    let place = Place::new();
    let (whole, own) = (place.path("whole"), place.own_model("own"));
    let report = adapt(&place, &tiny_model(), "full", &whole);
    for model in [&whole, &own] {
        // transformers takes an adapter beside a model for a part of it.
        let train = place.path("train");
        let how = ["--methods", "nearest-mean", "--modules", "none", "--device", "cpu", "--save", model];
        let (code, _, err) = run(&[&["adapt", "--model", model, "--train", &train][..], &how[..]].concat());
        assert!(code == 2 && err.contains("holds a model.safetensors of something else"), "{err}");
        assert!(!Path::new(model).join("adapter_config.json").exists(), "{model}");
    }
    assert!(difference(&place, &report, &whole) < 1e-4, "what was there is there");
}

#[test]
fn what_is_somebody_elses_is_not_replaced() {
    let place = Place::new();
    let (model, train) = (tiny_model(), place.path("train"));
    let [theirs, other, task, card] = ["theirs", "other", "task", "card"].map(|name| place.path(name));
    let own = place.own_model("own");
    let train_module = ["train-module", "--model", &model, "--data", &train, "--steps", "1"];
    let to = |out| [&train_module[..], &["--device", "cpu", "--out", out]].concat();
    adapt(&place, &model, "lora", &task);
    // Its own module is trained again.
    succeed(&to(&card));
    succeed(&to(&card));
    for dir in [&theirs, &other] {
        fs::create_dir(dir).expect("a folder");
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(format!("{card}/{file}"), format!("{dir}/{file}")).expect("copies");
        }
    }
    let save = |method: &'static str, dir| {
        let how = ["--device", "cpu", "--modules", "none", "--methods", method, "--save", dir];
        [&["adapt", "--model", &model, "--train", &train][..], &how[..]].concat()
    };
    let pretrain = |out| vec!["pretrain", "--device", "cpu", "--data", &train, "--out", out];
    let compose = |out| vec!["compose", "--adapters", &theirs, "--out", out];
    // Its own composition is made again, and says what it is of.
    let sum = place.path("sum");
    (0..2).for_each(|_| drop(succeed(&compose(&sum))));
    assert_eq!(json(Path::new(&sum).join("composition.json").as_path())["adapters"][0], *theirs);
    for (arguments, dir, file) in [
        (save("lora", &theirs), &theirs, "an adapter_config.json"),
        (save("lora", &card), &card, "an adapter_config.json"),
        (save("full", &own), &own, "a model.safetensors"),
        (to(&theirs), &theirs, "an adapter_config.json"),
        (to(&task), &task, "a task.json"),
        (compose(&task), &task, "a task.json"),
        (compose(&card), &card, "a training.json"),
        (compose(&other), &other, "an adapter_config.json"),
        (compose(&own), &own, "a model.safetensors"),
        (to(&own), &own, "a model.safetensors"),
        (save("lora", &own), &own, "a model.safetensors"),
        (save("full", &theirs), &theirs, "an adapter_config.json"),
        (pretrain(&card), &card, "a training.json"),
        (pretrain(&theirs), &theirs, "an adapter_config.json"),
    ] {
        let held = |file: fs::DirEntry| (file.path(), fs::read(file.path()).expect("reads"));
        let files = || -> BTreeMap<_, _> {
            fs::read_dir(dir).expect("lists").map(|file| held(file.expect("a file"))).collect()
        };
        let before = files();
        let (code, text, err) = run(&arguments);
        assert!(code == 2 && text.is_empty(), "{arguments:?}: {text}");
        assert!(
            err.contains(&format!("holds {file} of something else")) && err.contains(dir.as_str()),
            "{err}"
        );
        assert!(files() == before, "{arguments:?}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_found_out_before_anything_runs() {
    let place = Place::new();
    fs::write(place.path("file"), "in the way").expect("file");
    let under = place.path("file/out.json");
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--json", &under]);
    assert!(code == 2 && text.is_empty() && err.contains(&place.path("file")), "before anything runs: {err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_does_not_cost_the_task() {
    let place = Place::new();
    // A full disk is found out at the end only.
    let (out, task) = ("/dev/full", place.path("task"));
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--json", out, "--save", &task]);
    assert!(code == 2 && err.contains(out), "{err}");
    assert!(text.contains("saved nearest-mean"), "{text}");
    let picture = place.path(&format!("test/{}/010.png", CLASSES[0]));
    succeed(&["predict", "--task", &task, "--device", "cpu", &picture]);
    fs::create_dir_all(place.path("blocked/task.json")).expect("a folder in the way");
    let blocked = place.path("blocked");
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean", "--json", out, "--save", &blocked]);
    assert!(code == 2 && err.matches("error[io]").count() == 2, "both are told: {err}");
}

/// A project of the page without results, or with the answer of another picture than it has.
#[test]
fn a_project_that_cannot_be_compared_is_no_success() {
    let place = Place::new();
    let project = place.path("project.zip");
    let write = |results: serde_json::Value| {
        let mut zip = zip::ZipWriter::new(fs::File::create(&project).expect("file"));
        let mut classes = Vec::new();
        for class in CLASSES {
            let mut add = |part: &str, number: &str| {
                let path = format!("{part}/{class}/{number}.png");
                zip.start_file(&path, zip::write::SimpleFileOptions::default()).expect("starts");
                std::io::Write::write_all(&mut zip, &fs::read(place.path(&path)).expect("picture"))
                    .expect("writes");
                path
            };
            let (train, test) = ([add("train", "000"), add("train", "001")], [add("test", "010")]);
            classes.push(serde_json::json!({"name": class, "train": train, "test": test}));
        }
        let file = serde_json::json!({
            "format": 1, "model": tiny_model(), "config": {}, "methods": ["nearest-mean"], "classes": classes,
            "modules": [], "results": results,
        });
        zip.start_file("project.json", zip::write::SimpleFileOptions::default()).expect("starts");
        std::io::Write::write_all(&mut zip, file.to_string().as_bytes()).expect("writes");
        zip.finish().expect("finishes");
        run(&["replay", &project, "--device", "cpu"])
    };
    let (code, _, err) = write(serde_json::json!([]));
    assert!(code == 2 && err.contains("project.zip") && err.contains("no results"), "{err}");
    let report = adapt(&place, &tiny_model(), "nearest-mean", &place.path("task"));
    let (code, text, err) = write(report["methods"].clone());
    assert_eq!(code, 1, "three times as many answers as pictures: {text}{err}");
    assert!(text.contains("1.0e0") && err.contains("differs by more than"), "{text}{err}");
}
