//! What ships inside the binary: it is whole, small, fits together, and needs no download.

mod support;

use loraloom::{DeviceChoice, block_on, session::ModelOptions, shipped};
use support::{json, succeed, write_task};

#[test]
fn the_base_model_and_its_modules_agree_with_their_manifest_and_fit() {
    let base = shipped::find(shipped::EMBEDDED).expect("a base model ships");
    assert!(base.has_model() && base.bytes() < 16_000_000, "{} bytes", base.bytes());
    assert!(base.files["model.safetensors"].bytes <= 12_000_000);
    let mut session = block_on(base.open(DeviceChoice::Cpu, &ModelOptions::default())).expect("opens");
    assert!(session.info().parameters <= 6_000_000);
    assert!(base.modules.len() > 1);
    for entry in &base.modules {
        let module = base.module(&entry.name).expect(&entry.name);
        session.add_module(module).expect("fits the base model");
        assert!(entry.card.as_ref().is_some_and(|card| card.contains('%')), "{} has a card", entry.name);
    }
    assert_eq!(session.module_names().len(), base.modules.len());
}

#[test]
fn every_folder_that_ships_reads_and_is_small() {
    for manifest in shipped::all() {
        for entry in &manifest.modules {
            let module = manifest.module(&entry.name).expect(&entry.name);
            assert!(!module.layers.is_empty());
            let weights = format!("modules/{}/adapter_model.safetensors", entry.name);
            assert!(manifest.files[&weights].bytes <= 400_000, "{}", entry.name);
        }
    }
    assert!(shipped::find("someone/unknown-model").is_none());
}

#[test]
fn modules_come_for_the_nearest_input_size() {
    let name = "facebook/deit-tiny-patch16-224";
    let side = |height, width| shipped::modules_for(name, (height, width)).and_then(|own| own.img_size);
    let sides = [side(224, 224), side(384, 384), side(128, 128), side(96, 96), side(64, 128)];
    assert_eq!(sides, [224, 224, 128, 128, 128].map(Some));
    assert!(shipped::find(name).is_none(), "the model itself does not ship");
    let base = shipped::modules_for(shipped::EMBEDDED, (48, 48)).expect("modules of the embedded model");
    assert!(base.has_model() && !base.modules.is_empty());
    assert!(shipped::modules_for("someone/unknown-model", (224, 224)).is_none());
}

#[test]
fn a_folder_with_the_weights_of_the_embedded_model_has_its_modules() {
    let modules = |dir: &str| shipped::modules_for(dir, (96, 96)).map(|own| own.modules.len());
    let embedded = modules(shipped::EMBEDDED);
    assert!(embedded.is_some() && modules("www/models/base") == embedded);
    let dir = tempfile::tempdir().expect("a folder");
    let weights = dir.path().join("model.safetensors");
    let name = dir.path().to_str().expect("UTF-8");
    std::fs::copy("www/models/base/model.safetensors", &weights).expect("copied");
    assert_eq!(modules(name), embedded);
    let mut bytes = std::fs::read(&weights).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    assert_eq!(modules(name), None, "other weights of the same size");
}

#[test]
fn a_manifest_may_state_licences() {
    let text = r#"{"name": "own", "license": "MIT", "files": {}, "modules": [
        {"name": "a", "card": null, "license": "CC0-1.0"}, {"name": "b", "card": "of photos"}]}"#;
    let manifest: shipped::Manifest = serde_json::from_str(text).expect("a manifest");
    let modules: Vec<_> = manifest.modules.iter().map(|entry| entry.license.as_deref()).collect();
    assert_eq!((manifest.license.as_deref(), modules), (Some("MIT"), vec![Some("CC0-1.0"), None]));
}

#[test]
fn adapting_needs_no_model_and_no_module_of_ones_own() {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(&dir.path().join("train"), &["across", "down"], 0, 2);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (train, out) = (path("train"), path("out.json"));
    let methods = "nearest-mean,uniform,learned";
    let common = ["adapt", "--device", "cpu", "--train", &train, "--folds", "0", "--steps", "2"];
    succeed(&[&common[..], &["--methods", methods, "--json", &out]].concat());
    let report = json(&dir.path().join("out.json"));
    let base = shipped::find(shipped::EMBEDDED).expect("a base model ships");
    assert_eq!(report["model"], base.name.as_str());
    let learned = &report["methods"][2]["coefficients"];
    let names: Vec<&str> = base.modules.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(learned["modules"], serde_json::json!(names));
    succeed(&[&common[..], &["--modules", "none", "--methods", "auto", "--json", &out]].concat());
    let methods = json(&dir.path().join("out.json"))["methods"].as_array().map_or(0, Vec::len);
    assert_eq!(methods, 4, "nearest-mean, linear-probe, lora, full");
    assert!(succeed(&["info"]).contains(&format!("embedded model {}", base.name)));
}

#[test]
fn a_folder_that_is_no_checkpoint_does_not_hide_what_ships() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join(shipped::EMBEDDED)).expect("a folder of results, say");
    write_task(&dir.path().join("photos"), &["across", "down"], 0, 1);
    let photo = std::fs::read_dir(dir.path().join("photos/across")).expect("pictures").next();
    let photo = photo.expect("one").expect("readable").path();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"));
    let arguments = ["classify", "--model", shipped::EMBEDDED, "--device", "cpu"];
    let done = command.args(arguments).arg(photo).current_dir(dir.path()).output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The README's first command, for two quick methods.
#[test]
fn the_example_is_learned_without_a_download() {
    let dir = tempfile::tempdir().expect("a folder");
    let report = dir.path().join("report.json").display().to_string();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example");
    let (train, test) = (format!("{example}/train"), format!("{example}/test"));
    let how = ["--methods", "linear-probe,uniform", "--folds", "0", "--device", "cpu", "--json", &report];
    let text = succeed(&[&["adapt", "--train", &train, "--test", &test][..], &how[..]].concat());
    assert!(text.contains("24 training images, 48 test images"), "{text}");
    for method in json(std::path::Path::new(&report))["methods"].as_array().expect("methods") {
        // One of six by chance; both have more than 0.75.
        assert!(method["test_accuracy"].as_f64().expect("tested") > 0.6, "{method}");
    }
}
