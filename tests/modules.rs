//! Modules of other models: what is said of them.

mod support;

use std::{fs, path::Path};

use support::{Place, golden, json, run, succeed, tiny_model};

/// A model of other weights in a folder of the tiny one's name.
fn namesake(place: &Place) -> String {
    let model = place.path("other/vit");
    fs::create_dir_all(&model).expect("folder");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("models/vit-f16").join(file), format!("{model}/{file}")).expect("copies");
    }
    model
}

#[test]
fn a_module_of_another_model_is_told_by_the_weights_and_not_by_the_name() {
    let place = Place::new();
    let (module, train) = (place.train_module("module", "1"), place.path("train"));
    let (renamed, other) = (place.own_model("renamed"), namesake(&place));
    let card = Path::new(&module).join("training.json");
    assert_eq!(json(&card)["model_sha256"].as_str().map(str::len), Some(64));
    let adapt = |model: &str| {
        let how = ["--device", "cpu", "--steps", "1", "--folds", "0", "--methods", "uniform"];
        run(&[&["adapt", "--model", model, "--train", &train, "--modules", &module][..], &how[..]].concat())
    };
    for model in [&tiny_model(), &renamed] {
        let (code, _, err) = adapt(model);
        assert!(code == 0 && !err.contains("warning"), "{model}: {err}");
    }
    let (code, text, err) = adapt(&other);
    assert!(code == 1 && err.contains("module module: it was trained on"), "{err}");
    assert!(err.contains("another version of it") && text.contains("uniform"), "{text}{err}");
    // Without a card there is only the name.
    fs::remove_file(&card).expect("removes");
    assert_eq!(adapt(&other).0, 0);
    let (code, _, err) = adapt(&renamed);
    assert!(code == 1 && err.contains("the model in use is") && !err.contains("version"), "{err}");
}

#[test]
fn a_folder_that_is_named_twice_counts_once() {
    let place = Place::new();
    let (one, other) = (place.train_module("one", "1"), place.train_module("other", "2"));
    let (again, out) = (format!("{one}/"), place.path("out.json"));
    let coefficients = |modules: &[&str], code: i32| {
        let how = ["--methods", "uniform", "--json", &out, "--modules"];
        let (found, _, err) = place.adapt(&[&how[..], modules].concat());
        assert_eq!(found, code, "{err}");
        let twice = format!("{again}: the same folder as {one}; it is taken once");
        assert_eq!(err.contains(&twice), code == 1, "{err}");
        json(Path::new(&out))["methods"][0]["coefficients"].clone()
    };
    let once = coefficients(&[&one, &other], 0);
    assert_eq!(coefficients(&[&one, &again, &other], 1), once);
    // A copy elsewhere counts as a module of its own, and that is said.
    let copy = place.path("copy");
    fs::create_dir_all(&copy).expect("folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(Path::new(&one).join(file), Path::new(&copy).join(file)).expect("copies");
    }
    let (_, _, err) = place.adapt(&["--methods", "uniform", "--modules", &one, &other, &copy]);
    assert!(err.contains("module copy: its updates are those of one, which count twice"), "{err}");
    let sum = place.path("sum");
    let mean = |adapters: [&str; 2]| {
        let (code, _, err) = run(&[&["compose", "--out", &sum, "--adapters"][..], &adapters].concat());
        (code, err)
    };
    let (code, err) = mean([&one, &copy]);
    assert!(
        code == 1 && err.contains(&format!("{copy}: its weights are those of {one}, which count")),
        "{err}"
    );
    let (code, err) = mean([&one, &one]);
    assert!(code == 1 && err.contains("it is named twice"), "{err}");
    // A weight of its own is meant.
    let text = succeed(&["compose", "--adapters", &one, &one, "--weights", "0.5,0.25", "--out", &sum]);
    assert!(text.contains("of rank up to 4"), "{text}");
    let (code, _, err) = run(&["compose", "--adapters", &one, &other, "--weights", "0,0", "--out", &sum]);
    assert!(code == 2 && err.contains("the sum would change nothing"), "{err}");
}

#[test]
fn modules_that_ship_fit_the_folder_of_the_model_that_they_ship_with() {
    let (place, base) = (Place::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/www/models/base"));
    let (train, modules) =
        (place.path("train"), ["digits", "trash"].map(|name| format!("{base}/modules/{name}")));
    let how = ["--device", "cpu", "--folds", "0", "--views", "0", "--methods", "uniform", "--modules"];
    let adapt = ["adapt", "--model", base, "--train", &train];
    let (code, _, err) = run(&[&adapt[..], &how[..], &modules.each_ref().map(String::as_str)].concat());
    assert!(code == 0 && !err.contains("warning"), "{err}");
}

#[test]
fn a_composition_says_whose_classifier_it_has() {
    let place = Place::new();
    let path = |name: &str| golden("adapters").join(name).display().to_string();
    let (headed, other, sum, out) =
        (path("all-head"), path("qv"), place.path("sum"), place.path("report.json"));
    let compose = |adapters: &[&str]| {
        let to = ["--out", &sum, "--json", &out];
        succeed(&[&["compose", "--adapters"][..], adapters, &to[..]].concat())
    };
    let text = compose(&[other.as_str(), headed.as_str()]);
    assert!(text.contains(&format!("; with the classifier of {headed}, as it is")), "{text}");
    let expected = serde_json::json!({"adapter": headed, "modules": ["classifier"]});
    for file in [Path::new(&sum).join("composition.json"), Path::new(&out).to_path_buf()] {
        assert_eq!(json(&file)["kept"], expected);
    }
    let text = compose(&[other.as_str(), path("qv-other").as_str()]);
    assert!(!text.contains("classifier"), "{text}");
    assert!(json(Path::new(&out))["kept"].is_null());
}

#[test]
fn a_module_has_the_name_of_its_folder_wherever_one_stands() {
    let mut info = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"));
    let output =
        info.args(["info", "--modules", "."]).current_dir(golden("adapters/qv")).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("module qv: "), "{text}");
}

#[test]
fn what_is_no_module_is_told_what_it_is() {
    let model = tiny_model();
    let (code, _, err) = run(&["info", "--modules", &model]);
    assert!(code == 2 && err.contains("this is a whole model, not a PEFT adapter"), "{err}");
}

#[test]
fn a_bad_module_among_good_ones_is_named_and_the_rest_is_described() {
    let place = Place::new();
    let path = |name: &str| golden("adapters").join(name).display().to_string();
    let (one, other, bad, out) = (path("qv"), path("qv-other"), place.path("train"), place.path("info.json"));
    let (code, text, err) = run(&["info", "--json", &out, "--modules", &one, &bad, &other]);
    assert!(code == 1 && err.contains("warning[io]") && err.contains(&bad), "{err}");
    assert!(text.contains("module qv: ") && text.contains("module qv-other: "), "{text}");
    let report = json(Path::new(&out));
    let count = |field: &str| report[field].as_array().map(Vec::len);
    assert_eq!((count("modules"), count("warnings")), (Some(2), Some(1)));
    let (code, text, err) = run(&["info", "--modules", &bad, &bad]);
    assert!(code == 2 && text.is_empty() && err.contains("none of them can be read"), "{text}{err}");
}
