//! Parsers on hostile input: random bytes, and valid files with a few bytes changed, cut or repeated.

#[path = "fuzz/parsers.rs"]
mod parsers;
#[path = "fuzz/seeds.rs"]
mod seeds;

use std::{collections::BTreeSet, fs, path::PathBuf, sync::LazyLock};

use proptest::prelude::*;

static SEEDS: LazyLock<Vec<(u8, Vec<u8>)>> = LazyLock::new(seeds::all);

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

#[test]
fn every_parser_has_a_seed_and_reads_it() {
    for (which, bytes) in &*SEEDS {
        let (name, _) = parsers::PARSERS[usize::from(*which)];
        parsers::read(*which, bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let seeded: BTreeSet<u8> = SEEDS.iter().map(|(which, _)| *which).collect();
    assert_eq!(seeded.len(), parsers::PARSERS.len());
}

#[test]
#[ignore = "writes files for the fuzzer to begin with"]
fn corpus() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/parse");
    fs::create_dir_all(&dir).expect("a folder");
    for (index, (which, bytes)) in SEEDS.iter().enumerate() {
        fs::write(dir.join(format!("seed-{index}")), [&[*which], &bytes[..]].concat()).expect("writes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused(which in 0..parsers::PARSERS.len() as u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(parsers::read(which, &bytes).is_err());
    }

    #[test]
    fn damaged_files_are_read_or_refused(
        seed in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..4),
    ) {
        let (which, mut bytes) = seed.get(&SEEDS).clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        let _ = parsers::read(which, &bytes);
    }
}
