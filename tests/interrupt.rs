//! Ctrl-C: a command ends soon, and keeps what it has.
#![cfg(unix)]

mod support;

use std::{fs, path::Path};

use support::{Place, json, succeed, tiny_model};

/// Waits until a process catches SIGINT, which comes right before its work, and a little longer.
fn wait_until_it_listens(id: &str) {
    let second = std::time::Duration::from_secs(1);
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        // SIGINT is number 2, the mask's second bit.
        Some(u64::from_str_radix(caught.trim(), 16).ok()? & 2 != 0)
    };
    // Without /proc there is only the clock.
    let mut patience = if Path::new("/proc/self/status").exists() { 100 } else { 4 };
    while listens() != Some(true) && patience > 0 {
        std::thread::sleep(second);
        patience -= 1;
    }
    std::thread::sleep(second);
}

/// Ends a command by Ctrl-C once it is at work; what it said on stderr.
fn stopped(arguments: &[&str]) -> String {
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"))
        .args(arguments)
        .args(["--device", "cpu", "--steps", "100000000"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    let id = child.id().to_string();
    wait_until_it_listens(&id);
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = child.wait_with_output().expect("ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    err
}

#[test]
fn ctrl_c_keeps_what_was_learned() {
    let place = Place::new();
    let (model, train, out) = (tiny_model(), place.path("train"), place.path("out"));
    let adapt = ["adapt", "--model", &model, "--train", &train, "--methods", "lora,full", "--save", &out];
    let err = stopped(&adapt);
    assert!(err.contains("1 of 2 methods"), "{err}");
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
