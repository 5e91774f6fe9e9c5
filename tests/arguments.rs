//! What is typed: refused at once and by name, or read as it is meant.

mod support;

use std::fs;

use support::{Place, golden, run, succeed, tiny_model};

/// Exit code and stderr of `adapt` on the tiny model.
fn adapt(place: &Place, extra: &[&str]) -> (i32, String) {
    let (code, _, err) = place.adapt(extra);
    (code, err)
}

#[test]
fn numbers_that_no_run_can_have_are_refused() {
    let place = Place::new();
    for (option, value, part) in [
        ("--rank", "18446744073709551615", "32 channels"),
        ("--rank", "33", "32 channels"),
        ("--batch-size", "0", "--batch-size"),
        ("--alpha", "nan", "--alpha"),
        ("--alpha", "inf", "--alpha"),
        ("--targets", "query,query", "query is named twice"),
    ] {
        let (code, err) = adapt(&place, &[option, value, "--methods", "lora,linear-probe"]);
        assert!(code == 2 && err.contains(part), "{option} {value}: {err}");
        assert_eq!(err.matches("error").count(), 1, "said once: {err}");
    }
    let (model, train) = (tiny_model(), place.path("train"));
    let own = ["adapt", "--model", &model, "--train", &train, "--steps", "0"];
    let (code, _, err) = run(&own);
    assert!(code == 2 && err.contains("--steps"), "{err}");
    let (out, settings) = (place.path("out"), place.path("settings.json"));
    let grid =
        ["experiment", "--model", &model, "--tasks", &place.path(""), "--modules", "none", "--out", &out];
    let (code, _, err) = run(&[&grid[..], &["--seeds", "0"]].concat());
    assert!(code == 2 && err.contains("--seeds"), "{err}");
    for (json, part) in [
        (r#"{"lora": {"targets": ["query", "query"]}}"#, "query is named twice"),
        (r#"{"lora": {"targets": []}}"#, "none are named"),
        (r#"{"train": {"batch_size": 0}}"#, "batch size"),
        (r#"{"train": {"head_rate": -1}}"#, "head_rate: -1 is no rate"),
        (r#"{"train": {"weight_decay": -0.1}}"#, "weight_decay"),
        (r#"{"train": {"clip_norm": 0}}"#, "clip_norm"),
        (r#"{"l2": -0.5}"#, "l2: -0.5 is no penalty"),
        (r#"{"search_images": 0}"#, "search_images"),
    ] {
        fs::write(&settings, json).expect("writes");
        let (code, _, err) = run(&[&grid[..], &["--settings", &settings]].concat());
        assert!(code == 2 && err.contains(part), "{json}: {err}");
    }
    for (command, photos) in [("train-module", train.as_str()), ("pretrain", train.as_str())] {
        for rate in ["0", "-0.006", "inf", "fast"] {
            let (code, _, err) = run(&[command, "--data", photos, "--out", &out, "--learning-rate", rate]);
            assert!(code == 2 && err.contains("give a number above 0"), "{command} {rate}: {err}");
        }
    }
    let pretrain = ["pretrain", "--data", &train, "--out", &out];
    for (option, value, part) in [
        ("--checkpoint-minutes", "nan", "nan is no time"),
        ("--checkpoint-minutes", "-1", "-1 is no time"),
        ("--teacher-weight", "0.5", "--teacher <DIR|ID>"),
    ] {
        let (code, _, err) = run(&[&pretrain[..], &[option, value]].concat());
        assert!(code == 2 && err.contains(part), "{option} {value}: {err}");
    }
}

#[test]
fn a_batch_size_beyond_the_images_means_all_of_them() {
    let place = Place::new();
    let most = ["--batch-size", "18446744073709551615", "--methods", "lora", "--folds", "0"];
    let (model, train) = (tiny_model(), place.path("train"));
    for device in ["cpu", "gpu"] {
        let own = ["adapt", "--model", &model, "--train", &train, "--device", device, "--steps", "2"];
        let text = succeed(&[&own[..], &most[..]].concat());
        assert!(text.contains("lora"), "{text}");
    }
}

#[test]
fn negative_numbers_are_numbers_and_not_options() {
    let place = Place::new();
    let (code, err) =
        adapt(&place, &["--methods", "lora", "--alpha", "-3", "--mean", "-1,0,0", "--std", "0.5,0.5,0.5"]);
    assert_eq!(code, 0, "{err}");
    let (input, out) = (place.path("in.safetensors"), place.path("out.safetensors"));
    let bytes = vec![0; 4 * 3 * 32 * 32];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 3, 32, 32], &bytes);
    let file = safetensors::serialize([("pixel_values", view.expect("a tensor"))], None);
    fs::write(&input, file.expect("serialises")).expect("writes");
    let model = golden("adapters/tiny-vit").display().to_string();
    let adapters =
        ["all-head", "all-head--old"].map(|name| golden("adapters").join(name).display().to_string());
    let forward = ["forward", "--model", &model, "--device", "cpu", "--input", &input, "--output", &out];
    let both = ["--adapter", &adapters[0], &adapters[1]];
    let (code, _, err) = run(&[&forward[..], &both[..], &["--weights", "-0.5,1"]].concat());
    assert!(
        code == 1 && err.contains("the head of all-head--old is used, those of all-head are left out"),
        "{err}"
    );
    let (code, _, err) = run(&[&forward[..], &both[..2], &["--weights", "-0.5"]].concat());
    assert!(code < 2 && !err.contains("saved heads"), "one head is no choice: {err}");
}

#[test]
fn a_folder_that_is_not_there_is_said_to_be_missing() {
    let place = Place::new();
    let picture = place.path("train/down/000.png");
    let binary = env!("CARGO_BIN_EXE_loraloom");
    for model in ["./typo", "/nowhere/typo", "train/typo"] {
        let output = std::process::Command::new(binary)
            .args(["classify", "--model", model, "--device", "cpu", &picture])
            .env("HF_HUB_OFFLINE", "1")
            .current_dir(place.dir.path())
            .output()
            .expect("runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && err.contains("there is no such folder"), "{model}: {err}");
    }
}

#[test]
fn one_image_of_one_class_is_counted_in_the_singular() {
    let place = Place::new();
    fs::create_dir_all(place.path("only/down")).expect("folder");
    fs::copy(place.path("train/down/000.png"), place.path("only/down/000.png")).expect("copies");
    let (model, only) = (tiny_model(), place.path("only"));
    let how = ["--methods", "nearest-mean", "--modules", "none", "--device", "cpu"];
    let (_, text, err) = run(&[&["adapt", "--model", &model, "--train", &only][..], &how[..]].concat());
    assert!(text.starts_with("1 class (down), 1 training image\n"), "{text}{err}");
}

#[test]
fn counts_of_one_are_in_the_singular_and_names_of_nothing_are_refused() {
    let place = Place::new();
    let (model, train, out) = (tiny_model(), place.path("train"), place.path("module"));
    let module = ["train-module", "--model", &model, "--device", "cpu", "--data", &train, "--out", &out];
    let text = succeed(&[&module[..], &["--steps", "1"]].concat());
    assert!(text.contains(" parameters, 1 step, "), "{text}");
    let sum = place.path("sum");
    let (code, _, err) = run(&["compose", "--adapters", &out, &out, "--weights", "1", "--out", &sum]);
    assert!(code == 2 && err.contains("2 adapters and 1 weight; give one"), "{err}");
    for methods in ["", "lora,"] {
        let (code, err) = adapt(&place, &["--methods", methods]);
        assert!(code == 2 && err.contains("--methods: a name is empty; name methods"), "{err}");
    }
    let (code, err) = adapt(&place, &["--methods", "uniform", "--modules", "none", &out]);
    assert!(code == 2 && err.contains("`none` cannot stand beside others"), "{err}");
}

#[test]
fn a_file_where_a_folder_is_to_be_written_is_refused_at_once() {
    let place = Place::new();
    let (file, task) = (place.path("file"), place.path(""));
    fs::write(&file, "in the way").expect("writes");
    let adapter = golden("adapters/qv").display().to_string();
    for command in [&["compose", "--adapters", &adapter][..], &["experiment", "--tasks", &task]] {
        let (code, _, err) = run(&[command, &["--out", &file]].concat());
        assert!(code == 2 && err.contains(&format!("{file} is a file and no folder")), "{err}");
    }
    let (code, _, err) = run(&["experiment", "--report-only", "--out", &file]);
    assert!(code == 2 && err.contains("it is a file, and a folder is wanted"), "{err}");
}

#[test]
fn every_task_of_a_comparison_is_looked_at_before_the_first_runs() {
    let place = Place::new();
    let (out, missing) = (place.path("out"), place.path("missing"));
    let (code, _, err) = run(&["experiment", "--tasks", &place.path(""), &missing, "--out", &out]);
    assert!(code == 2 && err.contains("missing"), "{err}");
    assert!(!std::path::Path::new(&out).exists(), "nothing was begun");
}

/// What the help of a command says of one option, on one line.
fn help_of(command: &str, option: &str) -> String {
    let text = succeed(&[command, "--help"]);
    let lines = text.lines().skip_while(|line| !line.trim_start().starts_with(option)).skip(1);
    // What is wrapped may begin with an option's name as well; the options themselves are less indented.
    lines
        .take_while(|line| line.is_empty() || line.starts_with("          "))
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_help_says_what_is_taken_where_nothing_is_said() {
    for (command, option, part) in [
        ("adapt", "--steps", "[default: 40]"),
        ("adapt", "--folds", "[default: 3]"),
        ("adapt", "--targets", "[default: query,key,value,proj,fc1,fc2]"),
        ("adapt", "--alpha", "twice the rank"),
        ("adapt", "--methods", "uniform-scaled+lora"),
        ("train-module", "--steps", "[default: 100]"),
        ("train-module", "--augment", "[default: true]"),
        ("train-module", "--mirror", "[default: true]"),
        ("train-module", "--views", "[default: 0]"),
        ("adapt", "--views", "[default: 4]"),
        ("adapt", "--mirror", "[default: false]"),
        ("experiment", "--augment", "[default: true]"),
        ("experiment", "--folds", "[default: 0]"),
        ("experiment", "--max-test", "[default: 300]"),
        ("pretrain", "--epochs", "[default: 16.0]"),
        ("pretrain", "--min-scale", "[default: 0.4]"),
    ] {
        let help = help_of(command, option);
        assert_eq!(help.matches(part).count(), 1, "{command} {option}: {help}");
    }
    assert!(!help_of("pretrain", "--mixed-precision").contains("default"));
    for option in ["--csv", "--unsure"] {
        let [predict, classify] = ["predict", "classify"].map(|command| help_of(command, option));
        assert!(predict.contains("with --test") && !classify.contains("--test"), "{predict} {classify}");
    }
}
