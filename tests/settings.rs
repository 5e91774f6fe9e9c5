//! What a person asks for beside the methods: settings of a file, where results go, and what is told about the images.

mod support;

use std::{fs, path::Path};

use support::{Place, json, run, succeed, tiny_model};

#[test]
fn settings_of_a_file_are_taken_and_what_is_typed_comes_on_top() {
    let place = Place::new();
    let (file, out) = (place.path("settings.json"), place.path("out.json"));
    let text = r#"{"train": {"num_steps": 3, "factor_rate": 0.01}, "lora": {"rank": 3, "alpha": 3}}"#;
    fs::write(&file, text).expect("writes");
    let (model, train) = (tiny_model(), place.path("train"));
    let adapt = ["adapt", "--model", &model, "--train", &train, "--device", "cpu", "--methods", "lora"];
    let lora = [&adapt[..], &["--folds", "0", "--settings", &file, "--json", &out]].concat();
    let measured = |more: &[&str]| {
        succeed(&[&lora[..], more].concat());
        let report = json(Path::new(&out))["methods"][0].clone();
        ["steps", "trainable_parameters"].map(|name| report[name].as_u64().expect("a number"))
    };
    let ([steps, three], [typed, six]) = (measured(&[]), measured(&["--rank", "6", "--steps", "2"]));
    assert_eq!((steps, typed), (3, 2));
    assert!(six > three, "{three} {six}");
    for (text, part) in [
        (r#"{"train": {"seed": 1}}"#, "say it with --seed"),
        (r#"{"train": {"steps": 1}}"#, "unknown field `steps`"),
    ] {
        fs::write(&file, text).expect("writes");
        let (code, _, err) = run(&lora);
        assert!(code == 2 && err.contains(part) && err.contains("settings.json"), "{err}");
    }
}

#[test]
fn copies_and_classes_of_one_image_are_told_where_something_is_held_out() {
    let place = Place::new();
    fs::copy(place.path("train/down/000.png"), place.path("train/down/copy.png")).expect("copies");
    for index in 1..4 {
        fs::remove_file(place.path(&format!("train/across/00{index}.png"))).expect("removes");
    }
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean"]);
    assert!(code == 1 && err.contains("held-out accuracy is too high with copies"), "{err}");
    assert!(err.contains("copy.png") && !err.contains("in two classes"), "{err}");
    assert!(err.contains("`across` with one image each: it is never held out"), "{err}");
    let (model, train) = (tiny_model(), place.path("train"));
    let how = ["--device", "cpu", "--methods", "nearest-mean", "--folds", "0"];
    let (_, _, err) = run(&[&["adapt", "--model", &model, "--train", &train], &how[..]].concat());
    assert!(!err.contains("never held out"), "{err}");
}

#[test]
fn a_module_that_changes_nothing_is_left_out() {
    let place = Place::new();
    let (task, module) = (place.path("task"), place.train_module("module", "1"));
    place.adapt(&["--methods", "nearest-mean", "--save", &task]);
    let (code, text, err) = place.adapt(&["--methods", "uniform", "--modules", &task, &module]);
    assert!(code == 1 && err.contains("module task: left out: all of its updates are zero"), "{err}");
    let (code, alone, _) = place.adapt(&["--methods", "uniform", "--modules", &module]);
    let row =
        |text: &str| text.lines().find(|line| line.starts_with("uniform")).map(|line| line[..60].to_string());
    assert!(code == 0 && row(&text) == row(&alone), "{text}{alone}");
    let (code, _, err) = place.adapt(&["--methods", "lora", "--alpha", "0"]);
    assert!(code == 2 && err.contains("not 0"), "{err}");
}

#[test]
fn json_goes_to_a_file_or_to_standard_output_and_not_to_a_folder() {
    let place = Place::new();
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--json", "-"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON and nothing else");
    assert!(code == 0 && report["methods"][0]["method"] == "nearest-mean", "{text}");
    assert!(err.contains("held out"), "the table is on standard error: {err}");
    let folder = place.path("train");
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--json", &folder]);
    assert!(code == 2 && text.is_empty() && err.contains("--json is a folder"), "{text}{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let binary = env!("CARGO_BIN_EXE_loraloom");
    let output = std::process::Command::new(binary).arg("info").stdout(full).output().expect("runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("cannot write standard output"), "{err}");
}
