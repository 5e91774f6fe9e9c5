//! Checkpoints against transformers and timm (`golden/make_models.py`), at several input sizes.

use std::{fs, path::PathBuf};

use burn::tensor::{Tensor, TensorData};
use loraloom::{
    DeviceChoice, block_on,
    checkpoint::load::{self, Checkpoint},
    device::{OpenDevice, open, read},
    error::{Error, Result},
    session::{ModelOptions, Session},
};
use safetensors::SafeTensors;

const MODELS: [&str; 11] = [
    "vit",
    "vit-old-names",
    "vit-f16",
    "vit-bf16",
    "vit-bare",
    "deit",
    "deit-distilled",
    "dinov2",
    "dinov2-swiglu",
    "timm",
    "timm-deit3",
];
const SIZES: [(usize, usize); 3] = [(32, 32), (48, 48), (24, 40)];

fn file(model: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(model).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn config(model: &str) -> String {
    String::from_utf8(file(model, "config.json")).expect("UTF-8")
}

fn open_model(
    model: &str,
    config: &str,
    weights: &[u8],
    size: Option<(usize, usize)>,
    device: &OpenDevice,
) -> Result<Checkpoint> {
    load::load(
        (&format!("{model}/config.json"), config),
        (&format!("{model}/model.safetensors"), weights),
        size,
        &device.plain,
    )
}

/// Shape and values of a reference tensor.
fn reference(tensors: &SafeTensors, key: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let view = tensors.tensor(key).ok()?;
    let values =
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
    Some((view.shape().to_vec(), values.collect()))
}

fn largest_difference(found: &[f32], expected: &[f32], what: &str) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn compare(model: &str, size: (usize, usize), device: &OpenDevice, tolerance: f32) {
    let bytes = file(model, "reference.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let checkpoint = open_model(model, &config(model), &file(model, "model.safetensors"), Some(size), device)
        .expect(model);
    let suffix = format!("{}x{}", size.0, size.1);
    let (shape, pixels) = reference(&tensors, &format!("pixel_values.{suffix}")).expect("pixels");
    let images = Tensor::<4>::from_data(TensorData::new(pixels, shape), &device.plain);
    let hidden = checkpoint.vit.forward_features(images.clone());
    let (_, expected) = reference(&tensors, &format!("last_hidden_state.{suffix}")).expect("hidden state");
    let found = block_on(read(hidden.clone())).expect("reads back");
    let difference = largest_difference(&found, &expected, model);
    assert!(difference < tolerance, "{model} {suffix} last_hidden_state: {difference}");
    let expected = block_on(read(checkpoint.vit.pool(hidden.clone()))).expect("reads back");
    let found = block_on(read(checkpoint.vit.forward_pooled(images))).expect("reads back");
    let difference = largest_difference(&found, &expected, model);
    assert!(difference < tolerance, "{model} {suffix} pooled features: {difference}");
    let expected = reference(&tensors, &format!("logits.{suffix}"));
    assert_eq!(expected.is_some(), checkpoint.head.is_some(), "{model} head");
    if let (Some((_, expected)), Some(head)) = (expected, &checkpoint.head) {
        let logits = checkpoint.vit.forward_head(hidden, &head.to_tensors(&device.plain));
        let found = block_on(read(logits)).expect("reads back");
        let difference = largest_difference(&found, &expected, model);
        assert!(difference < tolerance, "{model} {suffix} logits: {difference}");
    }
}

fn compare_all(choice: DeviceChoice, tolerance: f32) {
    let device =
        block_on(open(choice)).expect("the device opens; ./build.sh setup installs a software GPU driver");
    for model in MODELS {
        for size in SIZES {
            // timm resizes position embeddings with antialiasing (and another cubic); we resize as transformers does.
            if model.starts_with("timm") && size != (32, 32) {
                continue;
            }
            compare(model, size, &device, tolerance);
        }
    }
}

#[test]
fn the_cpu_device_computes_what_transformers_and_timm_compute() {
    compare_all(DeviceChoice::Cpu, 1e-4);
}

#[test]
fn the_gpu_device_computes_what_transformers_and_timm_compute() {
    compare_all(DeviceChoice::Gpu, 1e-3);
}

fn refusal(config: &str, weights: &[u8]) -> Error {
    open_model("vit", config, weights, None, &OpenDevice::cpu()).map(|_| ()).expect_err("must be refused")
}

#[test]
fn a_damaged_file_is_refused() {
    let (config, weights) = (config("vit"), file("vit", "model.safetensors"));
    assert_eq!(refusal(&config, &[]).code(), "bad-safetensors");
    assert_eq!(refusal(&config, b"not a file").code(), "bad-safetensors");
    assert_eq!(refusal(&config, &weights[..weights.len() / 2]).code(), "bad-safetensors");
    let mut huge = weights.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(refusal(&config, &huge).code(), "bad-safetensors");
    let mut not_finite = weights.clone();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(refusal(&config, &not_finite).code(), "not-finite");
}

#[test]
fn a_config_that_does_not_fit_is_refused() {
    let (text, weights) = (config("vit"), file("vit", "model.safetensors"));
    let changed = |key: &str, value: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        config[key] = value;
        refusal(&config.to_string(), &weights).code()
    };
    assert_eq!(refusal("{", &weights).code(), "bad-config");
    assert_eq!(changed("hidden_size", 64.into()), "tensor-shape");
    assert_eq!(changed("num_hidden_layers", 3.into()), "bad-config");
    assert_eq!(changed("num_hidden_layers", 1.into()), "unexpected-tensors");
    for (key, value) in
        [("hidden_size", 0), ("num_attention_heads", 0), ("num_attention_heads", 7), ("patch_size", 0)]
    {
        assert_eq!(changed(key, value.into()), "bad-config", "{key} {value}");
    }
    assert_eq!(changed("hidden_size", (-5).into()), "bad-config");
    assert_eq!(changed("num_hidden_layers", 1_000_000_000.into()), "bad-config");
    assert_eq!(changed("hidden_act", "relu6".into()), "unsupported");
    assert_eq!(changed("hidden_act", 5.into()), "unsupported");
    assert_eq!(changed("model_type", "resnet".into()), "unsupported");
}

/// Loads the tiny ViT, with or without the biases of query, key and value, and with some more options.
fn load_with(options: &serde_json::Value, biased: bool) -> Result<bool> {
    let mut config: serde_json::Value = serde_json::from_str(&config("vit")).expect("JSON");
    let fields = config.as_object_mut().expect("an object");
    fields.remove("qkv_bias");
    fields.extend(options.as_object().expect("an object").clone());
    let bytes = file("vit", "model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let of_qkv = |name: &str| ["query.bias", "key.bias", "value.bias"].iter().any(|end| name.ends_with(end));
    let kept = tensors.tensors().into_iter().filter(|(name, _)| biased || !of_qkv(name));
    let weights = safetensors::serialize(kept, None).expect("serialises");
    let loaded = open_model("vit", &config.to_string(), &weights, None, &OpenDevice::cpu())?;
    Ok(loaded.vit.blocks[0].attn.query.bias.is_some())
}

#[test]
fn options_that_change_the_mathematics_are_refused_by_name() {
    use serde_json::json;
    for (option, value) in [
        ("num_register_tokens", json!(4)),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true})),
        ("rope_theta", json!(100.0)),
        ("rope_parameters", json!({"rope_type": "default"})),
        ("attention_bias", json!(false)),
    ] {
        let error = load_with(&json!({option: value}), true).expect_err(option);
        assert!(error.code() == "unsupported" && error.to_string().contains(option), "{error}");
    }
    let off = json!({"num_register_tokens": 0, "quantization_config": null, "rope_scaling": null,
        "attention_bias": null});
    assert!(load_with(&off, true).expect("nothing is changed"));
    assert!(load_with(&json!({"attention_bias": true, "qkv_bias": true}), true).expect("as the tensors are"));
    for options in [json!({"attention_bias": false}), json!({"qkv_bias": false})] {
        assert!(!load_with(&options, false).expect("as the tensors are"));
    }
    let error = load_with(&json!({"attention_bias": true}), false).expect_err("there is none");
    assert!(error.to_string().contains("attention_bias"), "{error}");
    assert_eq!(
        load_with(&json!({"qkv_bias": false}), true).expect_err("too many").code(),
        "unexpected-tensors"
    );
    assert_eq!(load_with(&json!({}), false).expect_err("too few").code(), "missing-tensor");
}

#[test]
fn a_timm_model_whose_heads_nobody_states_is_refused_by_name() {
    let (text, weights) = (config("timm"), file("timm", "model.safetensors"));
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        change(&mut config);
        refusal(&config.to_string(), &weights).to_string()
    };
    let error =
        refused(&|config| drop(config["model_args"].as_object_mut().expect("map").remove("num_heads")));
    assert!(error.contains("num_heads") && error.contains("vit_tiny_patch16_224"), "{error}");
    let error = refused(&|config| config["model_args"]["act_layer"] = "gelu_tanh".into());
    assert!(error.contains("act_layer"), "{error}");
    let error = refused(&|config| config["model_args"]["pool_include_prefix"] = true.into());
    assert!(error.contains("pool_include_prefix"), "{error}");
    let error = refused(&|config| config["model_args"]["global_pool"] = "map".into());
    assert!(error.contains("global_pool"), "{error}");
    let error = refused(&|config| config["architecture"] = "eva02_tiny_patch14_224".into());
    assert!(error.contains("eva02_tiny"), "{error}");
}

/// A page takes a GPU only if one pass agrees with the CPU's.
#[test]
fn devices_are_compared_by_a_pass() {
    let open = |model: &str, choice| {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(model);
        let options = ModelOptions { img_size: Some(32), ..ModelOptions::default() };
        block_on(Session::open_dir(choice, model, &dir, &options)).expect("a session")
    };
    let cpu = open("vit", DeviceChoice::Cpu);
    block_on(open("vit", DeviceChoice::Gpu).agrees_with(&cpu)).expect("the same model");
    let other = block_on(open("deit", DeviceChoice::Cpu).agrees_with(&cpu));
    assert_eq!(other.expect_err("other weights").code(), "device");
}

/// A model's own input size, asked for by its number, is the same as none: projects and results stay comparable.
#[test]
fn its_own_size_is_no_other_size() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/vit");
    let info = |img_size| {
        let options = ModelOptions { img_size, ..ModelOptions::default() };
        block_on(Session::open_dir(DeviceChoice::Cpu, "vit", &dir, &options)).expect("a session").info()
    };
    let (side, _) = info(None).input_size;
    assert_eq!(info(Some(side)), info(None));
    assert_eq!(info(Some(2 * side)).img_size, Some(2 * side));
}
