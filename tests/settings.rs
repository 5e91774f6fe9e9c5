//! What a person asks for beside the methods: settings of a file, where results go, measuring what was saved, and what is told
//! about the images.

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
    // A record of an experiment has its seed, which is the default.
    fs::write(&file, r#"{"train": {"seed": 0, "num_steps": 3}}"#).expect("writes");
    assert_eq!(measured(&[])[0], 3);
    for (text, part) in [
        (r#"{"train": {"seed": 1}}"#, "say it with --seed"),
        (r#"{"train": {"steps": 1}}"#, "unknown field `steps`"),
        ("[]", "it is no object"),
        (r#"{"train": {"num_steps": 1.5}}"#, "field `train.num_steps`"),
    ] {
        fs::write(&file, text).expect("writes");
        let (code, _, err) = run(&lora);
        assert!(code == 2 && err.contains(part) && err.contains("settings.json"), "{err}");
    }
}

#[test]
fn heads_are_fitted_on_views_unless_none_are_wanted() {
    let place = Place::new();
    let (file, out) = (place.path("settings.json"), place.path("out.json"));
    let answers = |settings: &str, more: &[&str]| {
        fs::write(&file, settings).expect("writes");
        let fixed = ["--methods", "nearest-mean,linear-probe,lora", "--settings", &file, "--json", &out];
        assert_eq!(place.adapt(&[&fixed[..], more].concat()).0, 0);
        let report = json(Path::new(&out));
        let methods = report["methods"].as_array().expect("methods");
        methods.iter().map(|own| own["answers"].clone()).collect::<Vec<_>>()
    };
    // A trained head is not refitted by itself here.
    let (unsaid, none) = (r#"{"refit": "always"}"#, r#"{"refit": "always", "views": 0}"#);
    let views = answers(unsaid, &[]);
    assert_eq!(answers(none, &["--views", "4"]), views, "the default");
    let without = answers(none, &[]);
    assert_eq!(answers(unsaid, &["--views", "0"]), without);
    assert!(views.iter().zip(&without).all(|(with, without)| with != without), "every head");
    let mirrored = answers(unsaid, &["--mirror"]);
    assert!(views.iter().zip(&mirrored).all(|(plain, mirrored)| plain != mirrored), "every head");
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
    assert!(err.contains("the only image of `across` is never held out"), "{err}");
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
    // Two that change nothing are alike, and neither is composed.
    let other = place.path("other-task");
    place.adapt(&["--methods", "linear-probe", "--save", &other]);
    let (_, _, err) = place.adapt(&["--methods", "uniform", "--modules", &task, &other, &module]);
    assert!(err.contains("module other-task: left out") && !err.contains("count twice"), "{err}");
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

#[test]
fn a_report_takes_the_place_of_no_file_of_loralooms_own() {
    let place = Place::new();
    let (task, kept) = (place.path("task"), place.path("kept"));
    assert_eq!(place.adapt(&["--methods", "nearest-mean", "--save", &task]).0, 0);
    let card = Path::new(&task).join("task.json");
    let before = fs::read(&card).expect("a task");
    let refused = |arguments: &[&str], name: &str, part: &str| {
        let (code, text, err) = run(&[arguments, &["--json", name]].concat());
        assert!(code == 2 && text.is_empty() && err.contains(part) && err.contains(name), "{name}: {err}");
    };
    let own = "choose another name";
    let picture = place.path("test/down/010.png");
    let predict = ["predict", "--task", &task, "--device", "cpu", &picture];
    refused(&predict, &card.display().to_string(), own);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&card, place.path("link.json")).expect("a link");
        refused(&predict, &place.path("link.json"), own);
    }
    let (model, train) = (tiny_model(), place.path("train"));
    let how = ["--model", &model, "--device", "cpu", "--train", &train, "--methods", "nearest-mean"];
    let adapt = [&["adapt", "--save", &kept], &how[..]].concat();
    for name in [
        "task.json",
        "adapter_config.json",
        "Adapter_Model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "composition.json",
        "training.json",
        "experiment.json",
        "results-1-of-2.jsonl",
        "report.md",
        "pretraining.json",
        "manifest.json",
        "project.json",
    ] {
        refused(&adapt, &format!("{kept}/{name}"), own);
    }
    let file = place.path("settings.json");
    fs::write(&file, r#"{"folds": 0}"#).expect("writes");
    refused(&[&adapt[..], &["--settings", &file]].concat(), &file, "the file of --settings");
    assert!(!Path::new(&kept).exists() && fs::read(&card).expect("a task") == before);
    assert_eq!(fs::read_to_string(&file).expect("settings"), r#"{"folds": 0}"#);
}

#[test]
fn a_table_that_cannot_be_written_is_found_out_before_anything_runs() {
    let place = Place::new();
    let (picture, table, folder) =
        (place.path("train/down/000.png"), place.path("answers.csv"), place.path("folder.csv"));
    let classify = |csv: &str, picture: &str| {
        run(&["classify", "--model", &tiny_model(), "--device", "cpu", "--csv", csv, picture])
    };
    fs::write(place.path("file"), "in the way").and_then(|()| fs::create_dir(&folder)).expect("writes");
    for (csv, part) in
        [(&*place.path("file/x.csv"), "is a file and no folder"), (&folder, "--csv is a folder")]
    {
        let (code, text, err) = classify(csv, &picture);
        assert!(code == 2 && text.is_empty() && err.contains(part), "{text}{err}");
    }
    let twice = ["classify", "--model", &tiny_model(), "--csv", &table, "--json", &table, &picture];
    assert!(run(&twice).2.contains("are one file"), "one would replace the other");
    // What is there stays until there is something to write.
    fs::write(&table, "earlier").expect("writes");
    assert_eq!(classify(&table, &place.path("nowhere.png")).0, 2);
    assert_eq!(fs::read_to_string(&table).expect("a table"), "earlier");
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

#[test]
fn a_task_is_measured_on_folders_and_answers_go_into_a_table() {
    let place = Place::new();
    let (task, test) = (place.path("task"), place.path("test"));
    let (out, csv) = (place.path("scores.json"), place.path("answers.csv"));
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean", "--save", &task, "--json", &out]);
    assert_eq!(code, 0, "{err}");
    let report = json(Path::new(&out));
    let predict = ["predict", "--task", &task, "--device", "cpu", "--top", "2", "--csv", &csv];
    let text = succeed(&[&predict[..], &["--test", &test, "--json", &out]].concat());
    let scores = json(Path::new(&out));
    let measured = &report["methods"][0];
    assert_eq!(scores["accuracy"]["value"], measured["test_accuracy"]);
    assert_eq!(scores["confusion"], measured["confusion"]);
    let [low, high] = ["low", "high"].map(|end| &scores["accuracy"][end]);
    assert_eq!(&serde_json::json!([low, high]), &measured["test_interval"]);
    assert!(text.starts_with("accuracy ") && text.contains("of 9 images"), "{text}");
    let table = fs::read_to_string(&csv).expect("a table");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows[0].join(","), rows.len()), ("image,class,rank,label,probability".into(), 1 + 2 * 9));
    let first = rows[1..].iter().filter(|row| row[2] == "1");
    let right = first.filter(|row| row[1] == row[3]).count();
    assert_eq!(right as u64, scores["accuracy"]["correct"].as_u64().expect("a count"));

    // A folder of pictures is all that are inside; names that need it are in quotes.
    fs::rename(place.path("test/down/010.png"), place.path("test/down/a, \"b\".png")).expect("renames");
    let text = succeed(&[&predict[..], &[&test]].concat());
    assert_eq!(text.lines().count(), 9, "{text}");
    let table = fs::read_to_string(&csv).expect("a table");
    assert!(
        table.starts_with("image,rank,label,probability\n") && table.contains("a, \"\"b\"\".png\",1,"),
        "{table}"
    );
    let (code, _, err) = run(&["predict", "--task", &task, "--csv", &place.path("test/down/011.png"), &test]);
    assert!(code == 2 && err.contains("does not end in .csv"), "{err}");
}
