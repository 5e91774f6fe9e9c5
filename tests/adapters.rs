//! PEFT adapters in and out, against the updates that PEFT computes (`golden/make_adapters.py`).

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use loraloom::{
    DeviceChoice, Dialect, LoraModule, Precision, block_on,
    lora::{
        layout::{Family, PeftFormat},
        module::{LoraLayer, SavedHead},
    },
    session::{ModelOptions, Session},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use support::adapters::{assert_close, deltas, floats, folder, module};

const NAMES: [&str; 8] = ["qv", "qv-other", "all-head", "patterns", "rslora", "one-block", "half", "bfloat"];

fn format() -> PeftFormat<'static> {
    let (dialect, precision) = (Dialect::New, Precision::F32);
    PeftFormat { dialect, prefix: "vit", precision, family: Family::Plain, two_heads: false }
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
            compare(name, &module(&folder(&dir)), 1e-5);
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
            let format = PeftFormat { dialect, prefix, ..format() };
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

/// Logits of a model with our files, as [`PEFT` gives them](python/peft_roundtrip.py).
///
/// With `LORALOOM_PYTHON` (a Python that has torch, transformers and peft; for the old names `LORALOOM_PYTHON_OLD`, with
/// transformers up to 5.8) they are computed anew, and with `install` in place of a Python in a fresh virtual environment;
/// else they are the committed ones, which belong to exactly the committed files.
fn logits_in_python(model: &Path, adapter: &Path, inputs: &Path, dialect: Dialect) -> Vec<f32> {
    let golden = folder(&adapter.file_name().expect("a name").to_string_lossy());
    let committed = golden.join("logits.safetensors");
    let variable = match dialect {
        Dialect::New => "LORALOOM_PYTHON",
        Dialect::Old => "LORALOOM_PYTHON_OLD",
    };
    let Some(python) = std::env::var_os(variable) else {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let (ours, golden) = (adapter.join(file), golden.join(file));
            let same = fs::read(ours).expect("written") == fs::read(golden).expect("golden file");
            assert!(
                same,
                "{file} has changed: run this test with {variable}=install, then commit what it says"
            );
        }
        return tensor(&committed, "logits");
    };
    let python = if python == "install" { install_python(dialect) } else { python.into() };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/peft_roundtrip.py");
    let out = adapter.join("out.safetensors");
    let arguments = [&script, &model.to_path_buf(), &adapter.to_path_buf(), &inputs.to_path_buf(), &out];
    let status = std::process::Command::new(python).args(arguments).status().expect("Python runs");
    assert!(status.success(), "PEFT does not load what we wrote");
    fs::create_dir_all(&golden).expect("golden folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(file), golden.join(file)).expect("golden file");
    }
    fs::copy(&out, &committed).expect("golden file");
    tensor(&out, "logits")
}

fn install_python(dialect: Dialect) -> PathBuf {
    let (name, transformers) = match dialect {
        Dialect::New => ("loraloom-python", "transformers"),
        Dialect::Old => ("loraloom-python-old", "transformers<5.9"),
    };
    let environment = std::env::temp_dir().join(name);
    let run = |program: &Path, arguments: &[&str]| {
        let status = std::process::Command::new(program).args(arguments).status().expect("runs");
        assert!(status.success(), "{} {arguments:?}", program.display());
    };
    run(Path::new("python3"), &["-m", "venv", &environment.display().to_string()]);
    let python = environment.join("bin/python");
    run(&python, &["-m", "pip", "install", "-q", "torch", transformers, "peft", "safetensors", "timm"]);
    python
}

fn tensor(path: &Path, key: &str) -> Vec<f32> {
    let bytes = fs::read(path).expect("golden file");
    floats(SafeTensors::deserialize(&bytes).expect("safetensors").tensor(key).expect(key).data())
}

#[test]
fn peft_loads_what_is_written_and_gives_the_same_logits() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let model = folder("tiny-vit");
    for (dialect, name) in [(Dialect::New, "written"), (Dialect::Old, "written--old")] {
        let written = scratch.path().join(name);
        let format = PeftFormat { dialect, ..format() };
        module(&folder("all-head")).save_dir(&written, &format).expect("writes");
        let pixels = folder("written/input.safetensors");
        compare_with_python(&model, &written, (&pixels, "pixel_values"), dialect);
    }
}

/// Models whose own layers are cut otherwise than ours: two heads, a gated feed-forward part, a fused attention.
#[test]
fn peft_loads_what_is_written_for_models_of_other_layers() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    for name in ["deit-distilled", "dinov2-swiglu", "timm"] {
        let model = folder("../models").join(name);
        let session = open(&model, Some(32));
        let original = drawn_module(&session);
        for (dialect, suffix) in [(Dialect::New, ""), (Dialect::Old, "--old")] {
            let written = scratch.path().join(format!("written-{name}{suffix}"));
            original.save_dir(&written, &session.peft_format(dialect, Precision::F32)).expect("writes");
            // timm has one dialect.
            if name != "timm" || dialect == Dialect::New {
                let pixels = model.join("reference.safetensors");
                compare_with_python(&model, &written, (&pixels, "pixel_values.32x32"), dialect);
            }
            let again = module(&written);
            assert_eq!(again.head, original.head, "{name}");
            assert_eq!(again.layers, original.layers, "{name}: ranks included");
        }
    }
}

fn open(model: &Path, img_size: Option<usize>) -> Session {
    let options = ModelOptions { img_size, ..ModelOptions::default() };
    block_on(Session::open_dir(DeviceChoice::Cpu, "tiny", model, &options)).expect("opens")
}

/// Updates of every linear layer of a model and a head, of numbers that are different everywhere.
fn drawn_module(session: &Session) -> LoraModule {
    let mut state = 7u32;
    let mut draw = |count: usize| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 24) as f32 - 127.5) / 64.0 * 0.25
        };
        (0..count).map(|_| next()).collect()
    };
    let vit = &session.model().vit;
    let mut layers = std::collections::BTreeMap::new();
    for (block, own) in vit.blocks.iter().enumerate() {
        for (index, target) in loraloom::Target::ALL.into_iter().enumerate() {
            let ([in_dim, out_dim], rank) = (own.linear(target).weight.dims(), 1 + index % 2);
            let (a, b) = (draw(rank * in_dim), draw(out_dim * rank));
            layers.insert((block, target), LoraLayer { rank, in_dim, out_dim, a, b, scaling: 0.5 });
        }
    }
    let (classes, dim) = (5, vit.config.feature_dim());
    let head = SavedHead { classes, dim, weight: draw(classes * dim), bias: draw(classes) };
    LoraModule { name: "drawn".into(), layers, head: Some(head), base_model: None }
}

/// Compares logits of the pixels that are in a file under a key.
fn compare_with_python(model: &Path, written: &Path, (pixels, key): (&Path, &str), dialect: Dialect) {
    let bytes = fs::read(pixels).expect("golden file");
    let input = SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = input.tensor(key).expect("pixels");
    let shape = <[usize; 4]>::try_from(view.shape()).expect("four axes");
    let mut session = open(model, Some(shape[3]));
    session.add_module_dir(written, "written").expect("adds");
    session.merge(&[1.0]).expect("merges");
    let outputs = block_on(session.forward(floats(view.data()), shape)).expect("runs");
    let (logits, _) = outputs.logits.expect("a head");
    let inputs = written.join("input.safetensors");
    let alone = safetensors::serialize([("pixel_values", &view)], None).expect("serialises");
    fs::write(&inputs, alone).expect("writes");
    let expected = logits_in_python(model, written, &inputs, dialect);
    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    assert_close(&logits, &expected, 1e-5 * largest, &written.display().to_string());
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
        ("lora_bias", json!(true)),
        ("target_parameters", json!(["experts.weight"])),
        ("trainable_token_indices", json!([1])),
        ("layer_replication", json!([[0, 2]])),
        ("use_qalora", json!(true)),
        ("alora_invocation_tokens", json!([7, 8])),
        ("kasa_config", json!({"beta": 0.1})),
        ("monteclora_config", json!({"samples": 2})),
        ("velora_config", json!({"groups": 2})),
        ("use_bdlora", json!({"blocks": 2})),
        ("arrow_config", json!({"top_k": 3})),
        ("ensure_weight_tying", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("bias", json!("all")),
        ("init_lora_weights", json!("pissa")),
        ("peft_type", json!("LOHA")),
    ] {
        let found = code_with(field, value);
        assert!(found.starts_with("unsupported") || found.starts_with("bad-config"), "{field}: {found}");
        assert!(found.contains(field) || field == "peft_type", "{field}: {found}");
    }
    assert_eq!(code_with("lora_dropout", json!(0.1)), "fine");
    assert_eq!(code_with("use_dora", json!(false)), "fine");
    assert!(code_with("lora_alpha", json!("much")).starts_with("bad-config"));
    let found = code_with("lora_alpha", json!(1e39));
    assert!(found.starts_with("bad-config") && found.contains("lora_alpha"), "infinite in 32 bits: {found}");
}

#[test]
fn an_option_that_nobody_knows_is_a_warning_with_its_name() {
    let known = fs::read_to_string(folder("qv").join("adapter_config.json")).expect("golden file");
    let weights = fs::read(folder("qv").join("adapter_model.safetensors")).expect("golden file");
    let warnings = |key: &str, value: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_str(&known).expect("JSON");
        config[key] = value;
        LoraModule::from_bytes("own", &config.to_string(), &weights).expect("reads").1
    };
    let found = warnings("use_warp", true.into());
    assert!(found.len() == 1 && found[0].to_string().contains("own: field `use_warp`"), "{found:?}");
    assert!(warnings("use_warp", false.into()).is_empty(), "what is off changes nothing");
    for (key, value) in [
        ("exclude_modules", serde_json::json!(["query", "q_proj"])),
        ("layers_to_transform", serde_json::json!([0])),
        ("modules_to_save", serde_json::json!(["classifier"])),
    ] {
        let found = warnings(key, value);
        let text = found.iter().map(ToString::to_string).collect::<String>();
        assert!(found.len() == 1 && text.contains(key) && text.contains("PEFT"), "{key}: {text}");
    }
}

/// A fused layer of timm comes apart into three that share its directions.
#[test]
fn an_update_of_timms_fused_attention_is_read() {
    let (rank, width) = (2, 3);
    let value = |index: usize| (index as f32 * 0.7).sin();
    let a: Vec<f32> = (0..rank * width).map(value).collect();
    let b: Vec<f32> = (0..3 * width * rank).map(|index| value(index + 50)).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (bytes_a, bytes_b) = (bytes(&a), bytes(&b));
    let key = |part: &str| format!("base_model.model.blocks.1.attn.qkv.lora_{part}.weight");
    let tensor =
        |shape: [usize; 2], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor");
    let tensors =
        [(key("A"), tensor([rank, width], &bytes_a)), (key("B"), tensor([3 * width, rank], &bytes_b))];
    let file = safetensors::serialize(tensors, None).expect("serialises");
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["qkv"]}"#;
    let (module, _) = LoraModule::from_bytes("timm", config, &file).expect("reads");
    let fused = LoraLayer { rank, in_dim: width, out_dim: 3 * width, a, b, scaling: 2.0 };
    let deltas: Vec<f32> = module.layers.values().flat_map(LoraLayer::delta).collect();
    assert_eq!(deltas, fused.delta());
    let keys: Vec<_> = module.layers.keys().map(|(block, target)| (*block, target.name())).collect();
    assert_eq!(keys, [(1, "query"), (1, "key"), (1, "value")]);
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
