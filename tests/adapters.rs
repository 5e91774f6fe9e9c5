//! PEFT adapters in and out, against the updates that PEFT computes (`golden/make_adapters.py`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use loraloom::{
    DeviceChoice, Dialect, LoraModule, Precision, block_on,
    lora::{
        compose::{Form, compose},
        module::LoraLayer,
        peft::PeftFormat,
    },
    session::{ModelOptions, Session},
};
use safetensors::SafeTensors;

const NAMES: [&str; 8] = ["qv", "qv-other", "all-head", "patterns", "rslora", "one-block", "half", "bfloat"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters").join(name)
}

fn module(dir: &Path) -> LoraModule {
    let (module, warnings) =
        LoraModule::from_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    assert!(warnings.is_empty(), "{}: {warnings:?}", dir.display());
    module
}

/// PEFT's updates of one adapter: (block and target, or module path) and values.
fn deltas(name: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(folder("deltas.safetensors")).expect("golden file");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let prefix = format!("{name}/");
    let own = tensors
        .iter()
        .filter_map(|(key, view)| Some((key.strip_prefix(&prefix)?.to_string(), floats(view.data()))));
    own.collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest <= tolerance, "{what}: {largest}");
}

fn compare(name: &str, module: &LoraModule, tolerance: f32) {
    let expected = deltas(name);
    assert!(!expected.is_empty() && expected.len() == module.layers.len(), "{name}");
    for ((block, target), layer) in &module.layers {
        let key = format!("{block}.{}", target.name());
        let (_, values) =
            expected.iter().find(|(own, _)| *own == key).unwrap_or_else(|| panic!("{name}: {key}"));
        assert_close(&layer.delta(), values, tolerance, &format!("{name} {key}"));
    }
}

#[test]
fn both_dialects_give_the_updates_of_peft() {
    for name in NAMES {
        for dir in [name.to_string(), format!("{name}--old")] {
            let tolerance = if name == "bfloat" { 0.1 } else { 1e-3 };
            compare(
                name,
                &module(&folder(&dir)),
                if matches!(name, "half" | "bfloat") { tolerance } else { 1e-5 },
            );
        }
    }
    assert!(module(&folder("all-head")).head.is_some());
}

#[test]
fn what_is_written_reads_back_the_same_in_both_dialects() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    for name in NAMES {
        let original = module(&folder(name));
        for (dialect, prefix) in [(Dialect::Old, "vit"), (Dialect::New, "vit"), (Dialect::New, "deit")] {
            let dir = scratch.path().join(name);
            let format = PeftFormat { dialect, prefix, precision: Precision::F32 };
            original.save_dir(&dir, &format).expect(name);
            let again = module(&dir);
            assert_eq!(again.head, original.head);
            assert_eq!(again.layers.len(), original.layers.len());
            for (key, layer) in &original.layers {
                assert_close(&again.layers[key].delta(), &layer.delta(), 1e-5, name);
            }
            let half = PeftFormat { precision: Precision::F16, ..format };
            original.save_dir(&dir, &half).expect(name);
            for (key, layer) in &module(&dir).layers {
                // Eleven bits of precision in each of the two factors.
                assert_close(&layer.delta(), &original.layers[key].delta(), 2e-3, name);
            }
        }
    }
}

fn composed(names: &[&str], weights: &[f64], form: Form, out: &Path) -> f64 {
    let adapters: Vec<PathBuf> = names.iter().map(|name| folder(name)).collect();
    compose(&adapters, weights, form, None, out).expect("composes").relative_error
}

/// Logits of the tiny model with our files, as [`PEFT` gives them](python/peft_roundtrip.py).
///
/// With `LORALOOM_PYTHON` (a Python that has torch, transformers and peft) they are computed anew, and with
/// `LORALOOM_PYTHON=install` in a fresh virtual environment; else they are the committed ones, which belong to exactly
/// the committed files.
fn logits_in_python(adapter: &Path) -> Vec<f32> {
    let inputs = folder("written/input.safetensors");
    let committed = folder("written/logits.safetensors");
    let Some(python) = std::env::var_os("LORALOOM_PYTHON") else {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let (ours, golden) = (adapter.join(file), folder("written").join(file));
            let same = fs::read(ours).expect("written") == fs::read(golden).expect("golden file");
            assert!(
                same,
                "{file} has changed: run this test with LORALOOM_PYTHON=install, then commit what it says"
            );
        }
        return tensor(&committed, "logits");
    };
    let python = if python == "install" { install_python() } else { python.into() };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/peft_roundtrip.py");
    let out = adapter.join("out.safetensors");
    let arguments = [&script, &folder("tiny-vit"), &adapter.to_path_buf(), &inputs, &out];
    let status = std::process::Command::new(python).args(arguments).status().expect("Python runs");
    assert!(status.success(), "PEFT does not load what we wrote");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(file), folder("written").join(file)).expect("golden file");
    }
    fs::copy(&out, &committed).expect("golden file");
    tensor(&out, "logits")
}

fn install_python() -> PathBuf {
    let environment = std::env::temp_dir().join("loraloom-python");
    let run = |program: &Path, arguments: &[&str]| {
        let status = std::process::Command::new(program).args(arguments).status().expect("runs");
        assert!(status.success(), "{} {arguments:?}", program.display());
    };
    run(Path::new("python3"), &["-m", "venv", &environment.display().to_string()]);
    let python = environment.join("bin/python");
    run(&python, &["-m", "pip", "install", "-q", "torch", "transformers", "peft", "safetensors"]);
    python
}

fn tensor(path: &Path, key: &str) -> Vec<f32> {
    let bytes = fs::read(path).expect("golden file");
    floats(SafeTensors::deserialize(&bytes).expect("safetensors").tensor(key).expect(key).data())
}

#[test]
fn peft_loads_what_is_written_and_gives_the_same_logits() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let written = scratch.path().join("written");
    let format = PeftFormat { dialect: Dialect::New, prefix: "vit", precision: Precision::F32 };
    module(&folder("all-head")).save_dir(&written, &format).expect("writes");
    let choice = DeviceChoice::Cpu;
    let model = folder("tiny-vit");
    let mut session =
        block_on(Session::open_dir(choice, "tiny", &model, &ModelOptions::default())).expect("opens");
    session.add_module_dir(&written, "written").expect("adds");
    session.merge(&[1.0]).expect("merges");
    let bytes = fs::read(folder("written/input.safetensors")).expect("golden file");
    let input = SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = input.tensor("pixel_values").expect("pixels");
    let shape = <[usize; 4]>::try_from(view.shape()).expect("four axes");
    let outputs = block_on(session.forward(floats(view.data()), shape)).expect("runs");
    let (logits, _) = outputs.logits.expect("a head");
    assert_close(&logits, &logits_in_python(&written), 1e-5, "logits");
}

/// `sum_n w_n dW_n` of a layer, by dense updates.
fn dense_sum(
    modules: &[LoraModule],
    weights: &[f64],
    pick: impl Fn(&LoraModule) -> Option<&LoraLayer>,
) -> Vec<f32> {
    let mut sum: Vec<f64> = Vec::new();
    for (module, weight) in modules.iter().zip(weights) {
        let Some(layer) = pick(module) else { continue };
        sum.resize(layer.out_dim * layer.in_dim, 0.0);
        sum.iter_mut().zip(layer.delta()).for_each(|(sum, value)| *sum += weight * f64::from(value));
    }
    sum.into_iter().map(|value| value as f32).collect()
}

#[test]
fn cat_is_the_exact_weighted_sum_and_svd_states_its_error() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let (names, weights) = (["qv", "qv-other"], [0.25, -1.5]);
    let modules = names.map(|name| module(&folder(name)));
    for (form, name) in [(Form::Cat, "cat"), (Form::Svd { rank: 2 }, "svd")] {
        let dir = scratch.path().join(name);
        let stated = composed(&names, &weights, form, &dir);
        let (mut lost, mut norm) = (0.0f64, 0.0f64);
        for (key, layer) in &module(&dir).layers {
            let exact = dense_sum(&modules, &weights, |module| module.layers.get(key));
            for (a, b) in layer.delta().iter().zip(&exact) {
                lost += f64::from(a - b).powi(2);
                norm += f64::from(*b).powi(2);
            }
        }
        let found = (lost / norm).sqrt();
        assert!((found - stated).abs() < 1e-5, "{name}: {found} {stated}");
        assert_eq!(name == "svd", stated > 1e-3, "{name}: {stated}");
    }
}

#[test]
fn adapters_of_language_models_are_composed_from_their_files() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let dir = scratch.path().join("sum");
    composed(&["gpt2-0", "gpt2-1"], &[0.5, 0.5], Form::Cat, &dir);
    let bytes = fs::read(dir.join("adapter_model.safetensors")).expect("written");
    let tensors = SafeTensors::deserialize(&bytes).expect("readable");
    let parts = [deltas("gpt2-0"), deltas("gpt2-1")];
    let paths: std::collections::BTreeSet<&String> = parts.iter().flatten().map(|(path, _)| path).collect();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let mut expected: Vec<f32> = Vec::new();
        for values in parts.iter().filter_map(|part| Some(&part.iter().find(|(own, _)| own == path)?.1)) {
            expected.resize(values.len(), 0.0);
            expected.iter_mut().zip(values).for_each(|(sum, value)| *sum += 0.5 * value);
        }
        let view = |suffix: &str| tensors.tensor(&format!("base_model.model.{path}.{suffix}")).ok();
        let embedding = view("lora_embedding_A").is_some();
        let a =
            view("lora_A.weight").or_else(|| view("lora_embedding_A")).unwrap_or_else(|| panic!("{path}"));
        let b =
            view("lora_B.weight").or_else(|| view("lora_embedding_B")).unwrap_or_else(|| panic!("{path}"));
        let layer = LoraLayer {
            rank: a.shape()[0],
            in_dim: a.shape()[1],
            out_dim: b.shape()[0],
            a: floats(a.data()),
            b: floats(b.data()),
            scaling: 1.0,
        };
        // GPT-2's Conv1D and embeddings store their weights transposed; PEFT's delta follows.
        let transposed = loraloom::matrix::transpose(&layer.delta(), layer.out_dim, layer.in_dim);
        assert_close(&transposed, &expected, 1e-4, &format!("{path} {embedding}"));
    }
}

/// The error's code after changing one field of a good configuration.
fn code_with(field: &str, value: serde_json::Value) -> String {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let text = fs::read_to_string(folder("qv").join("adapter_config.json")).expect("golden file");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config[field] = value;
    fs::write(scratch.path().join("adapter_config.json"), config.to_string()).expect("writes");
    let weights = "adapter_model.safetensors";
    fs::copy(folder("qv").join(weights), scratch.path().join(weights)).expect("copies");
    match LoraModule::from_dir(scratch.path()) {
        Ok(_) => "fine".into(),
        Err(error) => format!("{} {}", error.code(), error),
    }
}

#[test]
fn what_changes_the_mathematics_is_refused_by_name() {
    use serde_json::json;
    for (field, value) in [
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("bias", json!("all")),
        ("lora_bias", json!(true)),
        ("layer_replication", json!([[0, 2]])),
        ("trainable_token_indices", json!([1])),
        ("peft_type", json!("LOHA")),
    ] {
        let found = code_with(field, value);
        assert!(found.starts_with("unsupported") || found.starts_with("bad-config"), "{field}: {found}");
        assert!(found.contains(field) || field == "peft_type", "{field}: {found}");
    }
    assert_eq!(code_with("lora_dropout", json!(0.1)), "fine");
    assert!(code_with("lora_alpha", json!("much")).starts_with("bad-config"));
}

#[test]
fn damaged_adapters_are_errors() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let code = |dir: &Path| LoraModule::from_dir(dir).map(|_| ()).expect_err("must be refused").code();
    assert_eq!(code(&scratch.path().join("absent")), "io");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(folder("qv").join(file), scratch.path().join(file)).expect("copies");
    }
    let weights = scratch.path().join("adapter_model.safetensors");
    let whole = fs::read(&weights).expect("reads");
    fs::write(&weights, &whole[..whole.len() - 5]).expect("writes");
    assert_eq!(code(scratch.path()), "bad-safetensors");
    let mut not_finite = whole.clone();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&weights, &not_finite).expect("writes");
    assert_eq!(code(scratch.path()), "not-finite");
    fs::write(scratch.path().join("adapter_config.json"), "{}").expect("writes");
    assert_eq!(code(scratch.path()), "bad-config");
}
