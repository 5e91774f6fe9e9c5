//! Reading and comparing PEFT adapters.

use std::{
    fs,
    path::{Path, PathBuf},
};

use loraloom::LoraModule;
use safetensors::SafeTensors;

/// A golden adapter.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters").join(name)
}

/// A module of a folder that gives no warning.
pub fn module(dir: &Path) -> LoraModule {
    let (module, warnings) =
        LoraModule::from_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    assert!(warnings.is_empty(), "{}: {warnings:?}", dir.display());
    module
}

/// Little-endian values.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
}

/// Compares values with an absolute tolerance.
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest <= tolerance, "{what}: {largest}");
}

/// PEFT's updates of one adapter: (block and target, or module path) and values.
pub fn deltas(name: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(folder("deltas.safetensors")).expect("golden file");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let prefix = format!("{name}/");
    let own = tensors
        .iter()
        .filter_map(|(key, view)| Some((key.strip_prefix(&prefix)?.to_string(), floats(view.data()))));
    own.collect()
}
