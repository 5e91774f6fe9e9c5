//! Weighted sums of PEFT adapters, of vision and language models, and the memory that they take.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

use loraloom::{
    Dialect, LoraModule,
    lora::{
        compose::{Form, compose},
        module::LoraLayer,
    },
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use support::adapters::{assert_close, deltas, floats, folder, module};

/// Counts what a thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // A thread that ends frees memory after its own counters are gone.
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        held.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes that this thread holds during some work, beside what it held before.
fn most_held(work: impl FnOnce()) -> isize {
    let before = HELD.get().0;
    HELD.set((before, before));
    work();
    HELD.get().1 - before
}

fn composed(names: &[&str], weights: &[f64], form: Form, out: &Path) -> f64 {
    let adapters: Vec<PathBuf> = names.iter().map(|name| folder(name)).collect();
    compose(&adapters, weights, form, None, out).expect("composes").relative_error
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
    let modules = ["qv", "qv-other"].map(|name| module(&folder(name)));
    let forms = [(Form::Cat, "cat"), (Form::Svd { rank: 2 }, "svd")];
    // Sixteen times both have more ranks than the layers have channels.
    for ((form, name), times) in forms.into_iter().flat_map(|form| [(form, 1), (form, 16)]) {
        let dir = scratch.path().join(format!("{name}-{times}"));
        let weights = [0.25, -1.5];
        let each = weights.map(|weight| weight / times as f64).repeat(times);
        let stated = composed(&["qv", "qv-other"].repeat(times), &each, form, &dir);
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

/// Writes an adapter of a rank on the named layers of a model of a width and inner width.
fn write_adapter(dir: &Path, paths: &[&str], rank: usize, (width, inner): (usize, usize)) {
    let mut tensors = Vec::new();
    for path in paths {
        let (from, to) = if path.ends_with("down_proj") { (inner, width) } else { (width, inner) };
        let key = |part: &str| format!("base_model.model.{path}.lora_{part}.weight");
        let bytes = |count: usize| 0.5f32.to_le_bytes().repeat(count);
        tensors.push((key("A"), vec![rank, from], bytes(rank * from)));
        tensors.push((key("B"), vec![to, rank], bytes(to * rank)));
    }
    let views = tensors.iter().map(|(key, shape, bytes)| {
        (key.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    fs::create_dir_all(dir).expect("folder");
    let file = safetensors::serialize(views, None).expect("serialises");
    fs::write(dir.join("adapter_model.safetensors"), file).expect("writes");
    let config =
        serde_json::json!({"peft_type": "LORA", "r": rank, "lora_alpha": 1, "target_modules": paths});
    fs::write(dir.join("adapter_config.json"), config.to_string()).expect("writes");
}

#[test]
fn adapters_of_gated_language_models_are_composed() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let all = ["gate_proj", "up_proj", "down_proj"].map(|name| format!("layers.0.mlp.{name}"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let adapters = ["a", "b"].map(|name| scratch.path().join(name));
    adapters.iter().for_each(|dir| write_adapter(dir, &all, 1, (4, 6)));
    let report =
        compose(&adapters, &[0.5, 0.5], Form::Cat, None, &scratch.path().join("sum")).expect("composes");
    let paths: Vec<(&str, usize)> =
        report.modules.iter().map(|module| (module.path.as_str(), module.rank)).collect();
    assert_eq!(paths, [(all[2], 2), (all[0], 2), (all[1], 2)]);
    // timm's two halves share a place in our blocks, too.
    let timm = ["blocks.0.mlp.fc1_g", "blocks.0.mlp.fc1_x"];
    adapters.iter().for_each(|dir| write_adapter(dir, &timm, 1, (4, 6)));
    compose(&adapters, &[0.5, 0.5], Form::Cat, None, &scratch.path().join("timm")).expect("composes");
}

#[test]
fn one_layer_under_two_kinds_of_names_is_refused() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    let (qkv, query) = ("blocks.0.attn.qkv", "encoder.layer.0.attention.attention.query");
    let (whole, gate) = ("encoder.layer.0.mlp.weights_in", "layers.0.mlp.gate_proj");
    for (fused, outputs, part) in [(qkv, 24, query), (whole, 16, gate)] {
        write_adapter(&one, &[fused], 1, (8, outputs));
        write_adapter(&other, &[part], 1, (8, 8));
        for pair in [[&one, &other], [&other, &one]] {
            let out = scratch.path().join("sum");
            let composed = compose(&pair.map(PathBuf::clone), &[0.5, 0.5], Form::Cat, None, &out);
            let error = composed.expect_err("refused").to_string();
            assert!(error.contains(fused) && error.contains(part) && !out.exists(), "{error}");
            assert!(error.contains("adapters of one kind of model"), "no new names would help: {error}");
        }
    }
    // Nor may one adapter say the same half twice.
    write_adapter(&one, &[gate, &format!("vit.{gate}")], 1, (8, 8));
    let error = LoraModule::from_dir(&one).expect_err("refused").to_string();
    assert!(error.contains("two of its modules update fc1 of block 0"), "{error}");
}

#[test]
fn adapters_in_two_dialects_are_composed_when_they_are_renamed() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let (pair, out) = ([folder("qv"), folder("qv-other--old")], scratch.path().join("sum"));
    let error = compose(&pair, &[0.5, 0.5], Form::Cat, None, &out).expect_err("refused").to_string();
    assert!(error.contains("in another adapter") && error.contains("with --names new"), "{error}");
    compose(&pair, &[0.5, 0.5], Form::Cat, Some(Dialect::New), &out).expect("composes");
    assert!(!module(&out).layers.is_empty());
}

#[test]
fn a_sum_that_is_not_finite_leaves_no_folder() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let out = scratch.path().join("new").join("sum");
    let error = compose(&[folder("qv")], &[1e300], Form::Cat, None, &out).expect_err("overflows");
    assert_eq!(error.code(), "not-finite");
    assert!(!scratch.path().join("new").exists());
    fs::create_dir(scratch.path().join("old")).expect("folder");
    compose(&[folder("qv")], &[1e300], Form::Cat, None, &scratch.path().join("old")).expect_err("overflows");
    assert!(scratch.path().join("old").exists(), "a folder that was there stays");
}

/// An exact sum holds the factors of one adapter and the `B` that it writes, however many adapters and layers there are.
#[test]
fn a_sum_of_many_adapters_holds_one_at_a_time() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let (layers, adapters, rank, width) = (2, 40, 8, 1024);
    let paths: Vec<String> = (0..layers).map(|layer| format!("model.layers.{layer}.mlp.up_proj")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let dirs: Vec<PathBuf> = (0..adapters).map(|index| scratch.path().join(index.to_string())).collect();
    dirs.iter().for_each(|dir| write_adapter(dir, &paths, rank, (width, width)));
    let held = most_held(|| {
        let weights = vec![1.0; adapters];
        compose(&dirs, &weights, Form::Cat, None, &scratch.path().join("sum")).expect("composes");
    });
    let (factor, output) = (4 * rank * width, 4 * adapters * rank * width);
    // A factor is there as bytes and as numbers; the rest is for headers, which say where the factors are.
    let headers = adapters * layers * 2 * 1500;
    let limit = output + 2 * factor + headers + 200_000;
    assert!(held < limit as isize, "{held} bytes, the limit is {limit}");
    assert!(limit < 2 * output, "the limit would not notice that all are held");
}

/// A truncated sum holds no more of many adapters than of a few, but for the headers, which say where the factors are.
#[test]
fn truncation_of_many_adapters_holds_one_matrix() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let held = |adapters: usize| {
        let place = scratch.path().join(adapters.to_string());
        let dirs: Vec<PathBuf> = (0..adapters).map(|index| place.join(index.to_string())).collect();
        dirs.iter().for_each(|dir| write_adapter(dir, &["model.layers.0.mlp.up_proj"], 8, (32, 32)));
        let weights = vec![1.0; adapters];
        most_held(|| {
            compose(&dirs, &weights, Form::Svd { rank: 4 }, None, &place.join("sum")).expect("composes");
        })
    };
    let (few, many) = (held(8), held(80));
    // The core of 80 joined adapters alone has (80 * 8)^2 values of eight bytes, 3.3 MB.
    assert!(many - few < 72 * 2 * 1500 + 200_000, "{few} bytes of 8 adapters, {many} of 80");
}
