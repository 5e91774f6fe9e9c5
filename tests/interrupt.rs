//! Ctrl-C: a command ends soon, and keeps what it has.
#![cfg(unix)]

mod support;

use std::{fs, path::Path};

use support::{CLASSES, Place, json, succeed, tiny_model};

/// Waits until a process catches SIGINT, which comes right before its work.
fn wait_until_it_listens(id: &str) {
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        // SIGINT is number 2, the mask's second bit.
        Some(u64::from_str_radix(caught.trim(), 16).ok()? & 2 != 0)
    };
    // Without /proc there is only the clock.
    let mut patience = if Path::new("/proc/self/status").exists() { 10_000 } else { 400 };
    while listens() != Some(true) && patience > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        patience -= 1;
    }
}

/// Steps that nobody waits for.
const ENDLESS: &str = "100000000";

/// Ends a training command by Ctrl-C once it is at work; what it said on stderr.
fn stopped(arguments: &[&str]) -> String {
    let (code, _, err) = stop(&[arguments, &["--steps", ENDLESS]].concat(), A_LITTLE);
    assert_eq!(code, Some(1), "{err}");
    err
}

/// Milliseconds in which a command is past what comes before its steps.
const A_LITTLE: u64 = 1000;

/// Ends a command by Ctrl-C so many milliseconds after its work begins; its exit code, and what it said on stdout and on stderr.
fn stop(arguments: &[&str], milliseconds: u64) -> (Option<i32>, String, String) {
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"))
        .args(arguments)
        .args(["--device", "cpu"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    let id = child.id().to_string();
    wait_until_it_listens(&id);
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn ctrl_c_keeps_what_was_learned() {
    let place = Place::new();
    let (model, train, out) = (tiny_model(), place.path("train"), place.path("out"));
    let adapt = ["adapt", "--model", &model, "--train", &train, "--methods", "lora,full", "--save", &out];
    let err = stopped(&adapt);
    assert!(err.contains("1 of 2 methods were run; lora was stopped after"), "{err}");
    succeed(&["predict", "--task", &out, "--device", "cpu", &place.path("train/down/000.png")]);
    // Before the first run there is nothing to report, and nothing wrong.
    let grid =
        ["experiment", "--model", &model, "--tasks", &place.path(""), "--shots", "2", "--modules", "none"];
    let err = stopped(&[&grid[..], &["--methods", "lora", "--out", &place.path("results")]].concat());
    assert!(err.contains("the same command goes on") && !err.contains("no runs"), "{err}");
    let module = place.path("module");
    let err = stopped(&["train-module", "--model", &model, "--data", &train, "--out", &module]);
    assert!(err.contains("warning[mismatch]: stopped") && err.contains("of 100000000 steps"), "{err}");
    let report = json(&Path::new(&module).join("training.json"));
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn ctrl_c_before_the_first_step_keeps_the_earlier_module() {
    let place = Place::new();
    let (train, module) = (place.path("train"), place.train_module("module", "1"));
    let weights = || fs::read(Path::new(&module).join("adapter_model.safetensors")).expect("weights");
    let before = weights();
    // Large pictures and varied copies: the probe alone takes long.
    let large = ["--img-size", "512", "--views", "4", "--steps", "2"];
    let again = ["train-module", "--model", &tiny_model(), "--data", &train, "--out", &module];
    let (code, text, err) = stop(&[&again[..], &large[..]].concat(), 0);
    assert_eq!((code, text.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("stopped: no step of the module was taken, and nothing is written"), "{err}");
    assert!(weights() == before, "what was there is there");
}

#[test]
fn ctrl_c_does_not_put_a_few_steps_in_the_place_of_what_is_done() {
    let place = Place::new();
    let (model, train, task) = (tiny_model(), place.path("train"), place.path("task"));
    let module = place.train_module("module", "1");
    assert_eq!(place.adapt(&["--methods", "lora", "--save", &task]).0, 0);
    let adapt =
        ["adapt", "--model", &model, "--train", &train, "--methods", "lora", "--folds", "0", "--save", &task];
    let again = ["train-module", "--model", &model, "--data", &train, "--out", &module];
    for (arguments, dir, kept) in [
        (&again[..], &module, "keeps the module that was there"),
        (&adapt[..], &task, "the task that was there is kept"),
    ] {
        let weights = || fs::read(Path::new(dir).join("adapter_model.safetensors")).expect("weights");
        let before = weights();
        let (code, _, err) = stop(&[arguments, &["--steps", ENDLESS]].concat(), A_LITTLE);
        assert!(code == Some(2) && err.contains(kept), "{err}");
        assert!(weights() == before, "{err}");
    }
}

/// A project of the page whose only method takes more steps than anybody waits for.
fn endless_project(place: &Place) -> String {
    let (train, out, project) = (place.path("train"), place.path("out.json"), place.path("project.zip"));
    let adapt =
        ["adapt", "--model", &tiny_model(), "--train", &train, "--modules", "none", "--device", "cpu"];
    succeed(&[&adapt[..], &["--methods", "lora", "--steps", "1", "--folds", "0", "--json", &out]].concat());
    let mut zip = zip::ZipWriter::new(fs::File::create(&project).expect("file"));
    let mut add = |path: &str, bytes: &[u8]| {
        zip.start_file(path, zip::write::SimpleFileOptions::default()).expect("starts");
        std::io::Write::write_all(&mut zip, bytes).expect("writes");
    };
    let classes = CLASSES.map(|class| {
        let paths = ["000", "001"].map(|number| format!("train/{class}/{number}.png"));
        paths.iter().for_each(|path| add(path, &fs::read(place.path(path)).expect("picture")));
        serde_json::json!({"name": class, "train": paths, "test": []})
    });
    let steps: usize = ENDLESS.parse().expect("a number");
    let file = serde_json::json!({
        "format": 1, "model": tiny_model(), "config": {"train": {"num_steps": steps}, "folds": 0},
        "methods": ["lora"], "classes": classes, "modules": [], "results": json(Path::new(&out))["methods"],
    });
    add("project.json", file.to_string().as_bytes());
    zip.finish().expect("finishes");
    project
}

#[test]
fn a_replay_that_was_stopped_says_so() {
    let place = Place::new();
    let (code, text, err) = stop(&["replay", &endless_project(&place)], A_LITTLE);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("warning[mismatch]: stopped: 0 of 1 methods were replayed"), "{err}");
    assert!(text.is_empty(), "an empty table: {text}");
}
