//! Class folders: order, shots, alignment, and what is left out.

mod support;

use std::{collections::BTreeSet, fs};

use loraloom::dataset::{Listing, folds};
use proptest::prelude::*;
use support::write_task;

fn task(classes: &[&str], count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(dir.path(), classes, 0, count);
    dir
}

#[test]
fn classes_are_sorted_and_files_below_are_found() {
    let dir = task(&["b", "a"], 2);
    fs::create_dir(dir.path().join("a/deeper")).expect("folder");
    fs::copy(dir.path().join("a/000.png"), dir.path().join("a/deeper/x.png")).expect("copy");
    fs::write(dir.path().join("stray.png"), b"").expect("file");
    fs::create_dir(dir.path().join("nothing")).expect("folder");
    let (listing, warnings) = Listing::from_folder(dir.path()).expect("lists");
    assert_eq!(listing.classes, ["a", "b"]);
    assert_eq!(listing.files.iter().filter(|(_, class)| *class == 0).count(), 3);
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|text| text.contains("stray.png")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("nothing")), "{told:?}");
}

#[test]
fn fewer_shots_are_a_subset_of_more() {
    let dir = task(&["a", "b", "c"], 8);
    let (listing, _) = Listing::from_folder(dir.path()).expect("lists");
    let drawn = |shots, seed| {
        let files = listing.clone().few_shot(shots, seed).files;
        files.into_iter().collect::<BTreeSet<_>>()
    };
    assert_eq!(drawn(3, 1).len(), 9);
    assert!(drawn(3, 1).is_subset(&drawn(5, 1)));
    assert_ne!(drawn(3, 1), drawn(3, 2));
    assert_eq!(drawn(100, 1).len(), 24);
}

#[test]
fn a_test_folder_follows_the_training_classes() {
    let dir = task(&["b", "c"], 1);
    let (listing, _) = Listing::from_folder(dir.path()).expect("lists");
    let order: Vec<String> = ["c", "a", "b"].map(String::from).to_vec();
    let aligned = listing.clone().aligned(&order).expect("aligns");
    let classes: Vec<usize> = aligned.files.iter().map(|(_, class)| *class).collect();
    assert_eq!((aligned.classes.len(), classes), (3, vec![0, 2]));
    let error = listing.aligned(&order[..2]).expect_err("b is unknown").to_string();
    assert!(error.contains("`b`"), "{error}");
}

proptest! {
    #[test]
    fn folds_hold_every_image_out_at_most_once_and_never_a_class_whole(
        labels in prop::collection::vec(0usize..5, 1..40), count in 1usize..60, seed in 0u64..9,
    ) {
        let folds = folds(&labels, count, seed);
        let held: Vec<usize> = folds.iter().flatten().copied().collect();
        prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len());
        for fold in &folds {
            prop_assert!(!fold.is_empty());
            for &index in fold {
                let left = labels.iter().enumerate().any(|(i, l)| *l == labels[index] && !fold.contains(&i));
                prop_assert!(left, "class {} has nothing left to learn from", labels[index]);
            }
        }
        for (index, label) in labels.iter().enumerate() {
            let alone = labels.iter().filter(|other| *other == label).count() == 1;
            prop_assert_eq!(held.contains(&index), !alone && !folds.is_empty());
        }
    }
}
