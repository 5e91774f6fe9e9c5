//! Parsers on hostile input: random bytes, and valid files with a few bytes changed, cut or repeated.

#[path = "fuzz/parsers.rs"]
mod parsers;
mod support;

use std::{fs, sync::LazyLock};

use proptest::prelude::*;
use support::golden;

/// Files that are valid for some parser: (parser, bytes).
static SEEDS: LazyLock<Vec<(u8, Vec<u8>)>> = LazyLock::new(|| {
    let seeds = [
        (0, "images/photo.jpg"),
        (0, "images/progressive.jpg"),
        (0, "images/cmyk.jpg"),
        (0, "images/exif-6.jpg"),
        (0, "images/photo.png"),
        (0, "images/grey16.png"),
        (2, "models/vit/model.safetensors"),
        (3, "models/vit/config.json"),
        (4, "adapters/qv/adapter_config.json"),
        (4, "adapters/qv/adapter_model.safetensors"),
        (5, "adapters/qv/adapter_model.safetensors"),
    ];
    let read = |path: &str| fs::read(golden(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut seeds: Vec<(u8, Vec<u8>)> =
        seeds.into_iter().map(|(parser, path)| (parser, read(path))).collect();
    let processor = r#"{"do_resize": true, "size": {"shortest_edge": 36}, "resample": 3, "do_center_crop": true,
        "crop_size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    seeds.push((1, processor.into()));
    seeds
});

/// A change of a file: overwrite a byte, cut the rest off, or repeat a stretch.
#[derive(Clone, Debug)]
enum Change {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        8 => (place(), any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

/// Structure is at the start of most formats, so half of the changes go there.
fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let near = |at: &prop::sample::Index, len: usize| match at.index(2) {
        0 => at.index(len.min(700)),
        _ => at.index(len),
    };
    match change {
        _ if bytes.is_empty() => (),
        Change::Byte(at, value) => {
            let at = near(at, bytes.len());
            bytes[at] = *value;
        }
        Change::Cut(at) => bytes.truncate(near(at, bytes.len())),
        Change::Repeat(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.extend(part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused(which in 0..parsers::COUNT, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parsers::read(which, &bytes);
    }

    #[test]
    fn damaged_files_are_read_or_refused(
        seed in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..4),
    ) {
        let (which, mut bytes) = seed.get(&SEEDS).clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        parsers::read(which, &bytes);
    }
}
