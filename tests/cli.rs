//! The command line as a person uses it: train modules, compare every method, save and predict.

mod support;

use std::{fs, path::Path};

use safetensors::{SafeTensors, tensor::TensorView};
use support::{
    CLASSES, Place,
    adapters::{assert_close, floats},
    draw, golden, json, run, succeed, tiny_model, write_task,
};

#[test]
fn every_method_runs_side_by_side_and_twice_the_same() {
    let place = Place::new();
    let (a, b) = (place.train_module("a", "1"), place.train_module("b", "2"));
    let reports: Vec<serde_json::Value> = ["one.json", "two.json"]
        .iter()
        .map(|name| {
            let out = place.path(name);
            let (code, text, err) = place.adapt(&["--methods", "all", "--modules", &a, &b, "--json", &out]);
            assert_eq!(code, 0, "{err}");
            check_composition_lines(&text);
            let mut report = json(Path::new(&out));
            for method in report["methods"].as_array_mut().expect("methods") {
                assert!(method["seconds"].as_f64().expect("seconds") >= 0.0);
                method["seconds"] = 0.into();
            }
            report
        })
        .collect();
    assert_eq!(reports[0], reports[1], "a seed decides everything on the CPU");
    check_methods(reports[0]["methods"].as_array().expect("methods"));
}

/// One table of the weights that differ, and a line where one says it all.
fn check_composition_lines(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| line.starts_with("mean weight")).expect("a table of weights");
    let names: Vec<&str> = lines[head].split_whitespace().skip(2).collect();
    assert_eq!(names, ["learned", "learned-scaled", "learned-free", "learned+lora", "lorahub"]);
    for (row, module) in ["a", "b"].iter().enumerate() {
        let cells: Vec<&str> = lines[head + 1 + row].split_whitespace().collect();
        assert_eq!((cells[0], cells.len()), (*module, 6), "{text}");
        assert!(cells[1..].iter().all(|cell| cell.parse::<f32>().is_ok()), "{text}");
    }
    let says = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(says("uniform-scaled: the mean of the modules times "), 1, "{text}");
    assert_eq!(says("best-module: a") + says("best-module: b"), 1, "{text}");
}

fn check_methods(methods: &[serde_json::Value]) {
    assert_eq!(methods.len(), 15);
    for method in methods {
        let name = method["method"].as_str().expect("name");
        let accuracy = method["test_accuracy"].as_f64().expect(name);
        assert!((0.0..=1.0).contains(&accuracy), "{name}");
        let held_out = method["held_out_accuracy"].as_f64().expect(name);
        let ends = method["held_out_interval"].as_array().expect(name);
        assert!(ends[0].as_f64() <= Some(held_out) && Some(held_out) <= ends[1].as_f64(), "{name}");
        let parameters = method["trainable_parameters"].as_u64().expect(name);
        assert_eq!(parameters == 0, name == "nearest-mean", "{name}");
        if name == "learned" {
            assert_eq!(method["steps"], 4);
            let groups = method["coefficients"]["weights"].as_array().expect("weights");
            assert_eq!(groups.len(), 12, "two blocks of six linear layers");
            for group in groups {
                let sum: f64 = group.as_array().expect("row").iter().filter_map(|v| v.as_f64()).sum();
                assert!((sum - 1.0).abs() < 1e-5, "softmax weights sum to one: {sum}");
            }
        }
    }
}

#[test]
fn modules_of_different_ranks_leave_lorahub_out_or_say_why() {
    let place = Place::new();
    let modules = [place.train_module_of_rank("2", "a", "1"), place.train_module_of_rank("3", "b", "2")];
    let modules = ["--modules", &modules[0], &modules[1]];
    let (code, text, err) = place.adapt(&[&["--methods", "uniform,lorahub"], &modules[..]].concat());
    assert_eq!(code, 1, "the other method is not lost: {text}");
    assert!(text.contains("uniform") && err.contains("lorahub needs modules of one rank"), "{err}");
    let (code, text, err) = place.adapt(&[&["--methods", "auto"], &modules[..]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(text.contains("learned+lora") && !text.contains("lorahub"), "{text}");
}

#[test]
fn what_is_saved_predicts_what_was_measured() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    for method in ["nearest-mean", "learned", "uniform+lora", "uniform-scaled+lora", "full", "lorahub"] {
        let (task, out) = (place.path(method), place.path("adapt.json"));
        let modules = ["--modules", &module];
        let (code, text, err) =
            place.adapt(&[&["--methods", method, "--save", &task, "--json", &out], &modules[..]].concat());
        assert_eq!(code, 0, "{err}");
        assert!(
            text.contains(&format!("saved {method} to"))
                && !text.contains("which gained")
                && !text.contains("no other"),
            "{text}"
        );
        let measured = json(Path::new(&out))["methods"][0]["test_accuracy"].as_f64().expect("accuracy");
        let images: Vec<String> = CLASSES
            .iter()
            .flat_map(|class| (10..13).map(move |index| format!("test/{class}/{index:03}.png")))
            .map(|name| place.path(&name))
            .collect();
        let predictions = place.path("predictions.json");
        let mut arguments = vec!["predict", "--task", &task, "--device", "cpu", "--json", &predictions];
        arguments.extend(images.iter().map(String::as_str));
        succeed(&arguments);
        let found = json(Path::new(&predictions));
        let found = found.as_array().expect("predictions");
        let hits = found.iter().enumerate().filter(|(i, p)| p["top"][0]["label"] == CLASSES[i / 3]).count();
        assert!((hits as f64 / 9.0 - measured).abs() < 1e-9, "{method}: {hits} of 9, measured {measured}");
    }
}

#[test]
fn what_is_saved_of_several_methods_says_why() {
    let place = Place::new();
    let task = place.path("task");
    let report = place.path("report.json");
    let measured = ["--methods", "nearest-mean,linear-probe", "--json", &report];
    let (code, text, err) = place.adapt(&[&measured[..], &["--save", &task]].concat());
    assert!(
        code == 0
            && (text.contains("no other has a better held-out accuracy")
                || text.contains("do not tell it from the best")),
        "{text}{err}"
    );
    let suggested = json(Path::new(&report))["suggested"].clone();
    assert_eq!(suggested, json(&Path::new(&task).join("task.json"))["method"]);
    let (_, again, _) = place.adapt(&measured);
    let suggested = format!("suggested: {}", suggested.as_str().expect("a name"));
    assert!(again.contains(&suggested), "{again}");
    let probe = text.lines().find(|line| line.starts_with("linear-probe")).expect("row");
    assert_eq!(
        probe.split_whitespace().rev().nth(2),
        Some("2"),
        "as many folds as for methods that train: {probe}"
    );
    let (code, text, err) = place.adapt(&["--methods", "lora,full", "--save", &task, "--shots", "1"]);
    assert!(code == 0 && text.contains("name one method to choose yourself"), "{text}{err}");
    assert!(text.contains("saved lora to"), "what got all training images right says nothing: {text}");
}

#[test]
fn a_saved_task_is_found_from_another_folder_and_its_warnings_count() {
    let place = Place::new();
    place.own_model("own-model");
    let binary = env!("CARGO_BIN_EXE_loraloom");
    let status = std::process::Command::new(binary)
        .args(["adapt", "--model", "own-model", "--train", "train", "--methods", "nearest-mean"])
        .args(["--device", "cpu", "--save", "task"])
        .current_dir(place.dir.path())
        .status();
    assert!(status.expect("runs").success());
    let (task, picture) = (place.path("task"), place.path("train/down/000.png"));
    succeed(&["predict", "--task", &task, "--device", "cpu", &picture]);
    let path = place.dir.path().join("task/adapter_config.json");
    let mut config = json(&path);
    config["use_warp"] = true.into();
    fs::write(&path, config.to_string()).expect("writes");
    let (code, _, err) = run(&["predict", "--task", &task, "--device", "cpu", &picture]);
    assert!(code == 1 && err.contains("use_warp"), "{code} {err}");
}

#[test]
fn a_task_keeps_the_cropping_that_was_asked_for() {
    let place = Place::new();
    let (task, model, train) = (place.path("task"), tiny_model(), place.path("train"));
    let adapt =
        ["adapt", "--model", &model, "--device", "cpu", "--train", &train, "--methods", "nearest-mean"];
    succeed(&[&adapt[..], &["--save", &task, "--crop-pct", "0.8", "--resample", "bicubic"]].concat());
    let saved = json(Path::new(&format!("{task}/task.json")));
    assert_eq!(saved["cropping"], serde_json::json!({"share": 0.8}));
    assert_eq!(saved["filter"], "bicubic");
    succeed(&["predict", "--task", &task, "--device", "cpu", &place.path("train/down/000.png")]);
    let (code, _, err) = run(&[&adapt[..], &["--crop-pct", "0"]].concat());
    assert!(code == 2 && err.contains("--crop-pct"), "{err}");
    let (code, _, err) = run(&[&adapt[..], &["--resample", "cubic"]].concat());
    assert!(code == 2 && err.contains("bicubic"), "{err}");
}

#[test]
fn one_image_per_class_works_and_says_that_nothing_can_be_held_out() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    let (code, text, err) = place.adapt(&["--shots", "1", "--methods", "all", "--modules", &module]);
    assert_eq!(code, 0, "{err}");
    let probe = text.lines().find(|line| line.starts_with("linear-probe")).expect("row");
    assert_eq!(probe.split_whitespace().filter(|cell| *cell == "-").count(), 3, "{probe}");
}

#[test]
fn forward_gives_the_reference_at_the_size_of_its_input() {
    let place = Place::new();
    let (input, output) = (place.path("in.safetensors"), place.path("out.safetensors"));
    let bytes = fs::read(golden("models/dinov2/reference.safetensors")).expect("golden file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let reference = |key: &str| file.tensor(key).expect("reference");
    let pixels = safetensors::serialize([("pixel_values", reference("pixel_values.48x48"))], None);
    fs::write(&input, pixels.expect("serialises")).expect("writes");
    let (model, report) = (golden("models/dinov2").display().to_string(), place.path("report.json"));
    let forward = ["forward", "--model", &model, "--device", "cpu", "--input", &input, "--output", &output];
    succeed(&[&forward[..], &["--json", &report]].concat());
    check_answers(
        &json(Path::new(&report)),
        &reference("logits.48x48"),
        &[model.clone(), input.clone(), output.clone()],
    );
    for (more, part) in [
        (&["--mean", "0,0,0"][..], "--mean: `pixel_values` reach the model as they are"),
        (&["--output", &place.path("in.safetensors")], "would be overwritten"),
        (&["--output", &format!("{}/model.safetensors", place.own_model("own"))], "no earlier output"),
    ] {
        let without = &forward[..forward.len() - if more[0] == "--output" { 2 } else { 0 }];
        let (code, _, err) = run(&[without, more].concat());
        assert!(code == 2 && err.contains(part), "{err}");
    }
    // An earlier output is written anew.
    succeed(&forward);
    let bytes = fs::read(&output).expect("output");
    let found = SafeTensors::deserialize(&bytes).expect("safetensors");
    for key in ["logits", "last_hidden_state"] {
        let expected = reference(&format!("{key}.48x48"));
        let found = found.tensor(key).expect(key);
        assert_eq!(found.shape(), expected.shape());
        let values = |data: &[u8]| -> Vec<f32> {
            data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect()
        };
        for (found, expected) in values(found.data()).iter().zip(values(expected.data())) {
            assert!((found - expected).abs() < 1e-4, "{key}: {found} {expected}");
        }
    }
}

/// What `forward --json` says of every image.
fn check_answers(report: &serde_json::Value, logits: &TensorView, files: &[String; 3]) {
    assert_eq!([&report["model"], &report["input"], &report["output"]], files.each_ref().map(|file| file));
    assert!(report["device"].is_string() && report["warnings"] == serde_json::json!([]), "{report}");
    let &[images, classes] = logits.shape() else { panic!("logits") };
    assert_eq!(report["images"].as_array().map(Vec::len), Some(images));
    assert_eq!(report["last_hidden_state"], serde_json::json!([images, 37, 32]));
    let expected = floats(logits.data());
    for (image, expected) in expected.chunks(classes).enumerate() {
        let row = |key: &str| -> Vec<f64> {
            let values = report["images"][image][key].as_array().expect(key);
            values.iter().filter_map(serde_json::Value::as_f64).collect()
        };
        let found: Vec<f32> = row("logits").into_iter().map(|value| value as f32).collect();
        assert_close(&found, expected, 1e-4, "logits");
        let probabilities = row("probabilities");
        assert!(probabilities.len() == classes && (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let ratio = (probabilities[0] / probabilities[1]).ln();
        assert!((ratio - f64::from(expected[0] - expected[1])).abs() < 1e-3, "a softmax: {ratio}");
    }
}

#[test]
fn classify_and_compose_and_info_speak_plainly() {
    let place = Place::new();
    draw(1, 3).save(place.path("photo.png")).expect("picture");
    let (model, photo) = (tiny_model(), place.path("photo.png"));
    let text = succeed(&["classify", "--model", &model, "--device", "cpu", "--top", "2", &photo]);
    assert!(text.contains("photo.png: LABEL_") && text.matches('%').count() == 2, "{text}");
    let adapters =
        [golden("adapters/qv"), golden("adapters/qv-other")].map(|path| path.display().to_string());
    let out = place.path("mean");
    // A link to a folder that is not there yet.
    #[cfg(unix)]
    std::os::unix::fs::symlink("real", &out).expect("a link");
    succeed(&["compose", "--adapters", &adapters[0], &adapters[1], "--out", &out]);
    let (code, _, err) = run(&["compose", "--adapters", &adapters[0], &out, "--out", &place.path("real")]);
    assert!(code == 2 && err.contains("would be overwritten"), "{err}");
    let (a, b) = (place.train_module("a", "1"), place.train_module("b", "2"));
    let text = succeed(&["compose", "--adapters", &a, &b, "--out", &place.path("two")]);
    assert!(text.contains("without classifier"), "heads of several cannot be summed: {text}");
    #[cfg(unix)]
    assert!(Path::new(&place.path("real/adapter_model.safetensors")).is_file());
    let text = succeed(&["info", "--model", &model, "--modules", &adapters[0], &out]);
    assert!(text.contains("rank") && text.contains("vit"), "{text}");
    let text = succeed(&["info", "--modules", &a]);
    assert!(text.contains("3 classes, 12 images") && !text.contains("grocery"), "what was asked for: {text}");
    assert!(succeed(&["--help"]).contains("Examples:"));
    assert!(succeed(&["completions", "bash"]).contains("train-module"));
}

#[test]
fn a_missing_desktop_is_not_reported_as_an_error() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"));
    // Without the last two Mesa's layer is asked, and says "error:" where there is no desktop.
    for name in ["XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"] {
        command.env_remove(name);
    }
    let done = command.arg("info").output().expect("runs");
    assert!(done.status.success() && !done.stdout.is_empty());
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(!err.contains("XDG_RUNTIME_DIR"), "{err}");
}

#[test]
fn a_base_model_and_a_module_trained_from_nothing_beat_chance() {
    let place = Place::new();
    write_task(&place.dir.path().join("photos"), &CLASSES, 0, 24);
    let (photos, base, out) = (place.path("photos"), place.path("base"), place.path("pretrain.json"));
    let pretrain = |epochs: &str| {
        succeed(&[
            "pretrain",
            "--data",
            &photos,
            "--validation",
            "8",
            "--out",
            &base,
            "--device",
            "cpu",
            "--img-size",
            "32",
            "--patch-size",
            "8",
            "--embed-dim",
            "32",
            "--depth",
            "2",
            "--num-heads",
            "2",
            "--batch-size",
            "16",
            "--learning-rate",
            "0.003",
            "--epochs",
            epochs,
            "--json",
            &out,
        ])
    };
    let text = pretrain("30");
    assert!(text.contains("top-1"), "{text}");
    let report = json(&place.dir.path().join("base/pretraining.json"));
    let whole = json(Path::new(&out));
    for (key, value) in report.as_object().expect("an object") {
        assert_eq!(&whole[key], value, "{key}");
    }
    assert_eq!(whole["data"], serde_json::json!([photos]));
    assert_eq!((&whole["steps"], &whole["num_train"]), (&90.into(), &48.into()));
    assert!(whole["seconds"].as_f64() > Some(0.0) && whole["stopped"] == false, "{whole}");
    let top1 = report["student"]["top1"].as_f64().expect("accuracy");
    assert!(top1 > 0.5, "chance is a third: {report}");
    let out = place.path("module");
    let (train, test) = (place.path("train"), place.path("test"));
    succeed(&[
        "train-module",
        "--model",
        &base,
        "--device",
        "cpu",
        "--data",
        &train,
        "--test",
        &test,
        "--out",
        &out,
        "--steps",
        "30",
    ]);
    let report = json(&place.dir.path().join("module/training.json"));
    let accuracy = report["module"]["test_accuracy"].as_f64().expect("accuracy");
    assert!(accuracy > 0.5, "chance is a third: {report}");
}

#[test]
fn with_one_image_per_class_nothing_chooses_a_scale() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    let out = place.path("out.json");
    let methods = "uniform,uniform-scaled";
    let (code, _, err) =
        place.adapt(&["--modules", &module, "--shots", "1", "--methods", methods, "--json", &out]);
    assert_eq!(code, 0, "{err}");
    let report = json(Path::new(&out));
    assert_eq!(report["methods"][0]["coefficients"], report["methods"][1]["coefficients"]);
    assert_eq!(report["methods"][0]["coefficients"]["means"], serde_json::json!([1.0]));
}
