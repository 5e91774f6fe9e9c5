//! Class folders: order, shots, alignment, and what is left out.

mod support;

use std::{collections::BTreeSet, fs};

use loraloom::{
    Dataset,
    dataset::{Listing, even_limits, folds},
    image::preprocess::Preprocess,
};
use proptest::prelude::*;
use support::write_task;

fn task(classes: &[&str], count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(dir.path(), classes, 0, count);
    dir
}

fn preprocess() -> Preprocess {
    Preprocess::from_json(None, ("config.json", r#"{"model_type": "vit", "image_size": 8}"#))
        .expect("a processor")
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
fn pictures_of_a_format_that_is_not_read_are_told_by_it() {
    let dir = task(&["a"], 1);
    for name in ["b/IMG_1.HEIC", "b/icon.ico"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder"))
            .and_then(|()| fs::write(&path, b""))
            .expect("file");
    }
    let (_, warnings) = Listing::from_folder(dir.path()).expect("lists");
    let told = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for part in
        ["IMG_1.HEIC: HEIC is not read; save it as JPEG or PNG; left out", "icon.ico: ICO is not read"]
    {
        assert!(told.contains(part), "{told}");
    }
    fs::remove_dir_all(dir.path().join("a")).expect("removes");
    let error = Listing::from_folder(dir.path()).expect_err("no images").to_string();
    assert!(error.contains("no class folders with images") && error.contains("HEIC is not read"), "{error}");
}

#[test]
fn of_the_parts_of_a_task_the_one_that_is_wanted_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    write_task(&dir.path().join("train"), &["a", "b"], 0, 1);
    write_task(&dir.path().join("Val"), &["a", "b"], 1, 1);
    let advice = |listed: loraloom::error::Result<(Listing, _)>| listed.expect_err("no classes").to_string();
    let names = |error: String, part: &str| {
        let ends = format!("name one of them, as {}", dir.path().join(part).display());
        assert!(error.ends_with(&ends), "{error}");
    };
    names(advice(Listing::from_folder(dir.path())), "train");
    names(advice(Listing::from_test_folder(dir.path())), "Val");
    write_task(&dir.path().join("test"), &["a", "b"], 2, 1);
    names(advice(Listing::from_folder(dir.path())), "train");
    names(advice(Listing::from_test_folder(dir.path())), "test");
}

#[test]
fn fewer_shots_are_a_subset_of_more() {
    let dir = task(&["a", "b", "c"], 8);
    let (listing, _) = Listing::from_folder(dir.path()).expect("lists");
    let preprocess = preprocess();
    let drawn = |shots, seed| {
        let drawn =
            Dataset::load(&listing.clone().shuffled(seed), &[shots; 3], &preprocess, &mut |_, _| ()).0;
        // The same as when all images are in memory before the draw.
        let all = Dataset::load(&listing, &[usize::MAX; 3], &preprocess, &mut |_, _| ()).0;
        assert_eq!(drawn.examples, all.few_shot(&[shots; 3], seed).examples);
        drawn.examples.into_iter().map(|example| example.name).collect::<BTreeSet<_>>()
    };
    assert_eq!(drawn(3, 1).len(), 9);
    assert!(drawn(3, 1).is_subset(&drawn(5, 1)));
    assert_ne!(drawn(3, 1), drawn(3, 2));
    assert_eq!(drawn(100, 1).len(), 24);
}

#[test]
fn few_test_images_are_the_same_whether_or_not_all_are_read() {
    let dir = task(&["a", "b", "c"], 8);
    fs::remove_file(dir.path().join("b/003.png")).expect("a file");
    let (listing, preprocess) =
        (Listing::from_folder(dir.path()).expect("lists").0.shuffled(0), preprocess());
    let read = |count| {
        let most = even_limits(&listing.class_sizes(), count);
        Dataset::load(&listing, &most, &preprocess, &mut |_, _| ()).0
    };
    let all = read(usize::MAX);
    for count in [1, 3, 8, 20, 23] {
        let few = read(count);
        assert_eq!(few.examples.len(), count);
        assert_eq!(few, all.at_most(count), "{count}");
        let sizes = few.class_sizes();
        assert!(count == 23 || sizes.iter().max() <= sizes.iter().min().map(|least| least + 1).as_ref());
    }
}

#[test]
fn an_image_that_cannot_be_read_is_no_shot() {
    let dir = task(&["a", "b"], 3);
    for name in ["a/000.png", "a/002.png"] {
        fs::write(dir.path().join(name), b"no picture").expect("file");
    }
    let (listing, _) = Listing::from_folder(dir.path()).expect("lists");
    for seed in 0..4 {
        let mut told = (0, 0);
        let mut show = |done, total| told = (done, total);
        let listing = listing.clone().shuffled(seed);
        let (dataset, bad) = Dataset::load(&listing, &[1, 1], &preprocess(), &mut show);
        assert_eq!(dataset.class_sizes(), [1, 1], "seed {seed}");
        assert!(dataset.examples[0].name.contains("001.png") && bad.len() <= 2);
        assert_eq!(told, (2, 2));
        assert!(dataset.lost(&listing).is_empty());
    }
    fs::write(dir.path().join("a/001.png"), b"no picture").expect("file");
    let (dataset, bad) = Dataset::load(&listing, &[1, 1], &preprocess(), &mut |_, _| ());
    assert_eq!((dataset.lost(&listing), bad.len()), (vec!["a".to_string()], 3));
}

#[cfg(unix)]
#[test]
fn a_folder_is_read_once_however_links_lead_to_it() {
    use std::os::unix::fs::symlink;
    let dir = task(&["a", "b"], 2);
    let at = |name: &str| dir.path().join(name);
    for (target, link) in [(".", "a/root"), ("b", "c"), ("../b", "a/b")] {
        symlink(target, at(link)).expect("a link");
    }
    symlink(dir.path(), at("a/whole")).expect("a link");
    let outside = task(&["x"], 1);
    symlink(outside.path().join("x"), at("d")).expect("a link to what is nowhere else");
    let (listing, warnings) = Listing::from_folder(dir.path()).expect("lists");
    assert_eq!(listing.classes, ["a", "b", "d"]);
    assert_eq!(listing.class_sizes(), [2, 2, 1]);
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    for link in ["a/root", "a/whole", "a/b", "c"] {
        let path = at(link).display().to_string();
        assert!(
            told.iter().any(|text| text.starts_with(&path) && text.contains("read anyway")),
            "{link}: {told:?}"
        );
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn classes_whose_names_cannot_be_told_apart_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let dir = task(&["a"], 1);
    for name in [b"bird\xff", b"bird\xfe"] {
        let folder = dir.path().join(OsStr::from_bytes(name));
        fs::create_dir(&folder).expect("folder");
        fs::copy(dir.path().join("a/000.png"), folder.join("x.png")).expect("copy");
    }
    let error = Listing::from_folder(dir.path()).expect_err("must be refused").to_string();
    assert!(error.contains("bird") && error.contains("rename one"), "{error}");
}

#[cfg(unix)]
#[test]
fn letters_count_and_not_how_they_are_stored_and_pipes_are_no_images() {
    let dir = task(&["\u{e9}t\u{e9}", "hiver"], 1);
    let apart = task(&["e\u{301}te\u{301}"], 1);
    let made =
        std::process::Command::new("mkfifo").arg(apart.path().join("e\u{301}te\u{301}/pipe.png")).status();
    assert!(made.expect("mkfifo").success());
    let (train, _) = Listing::from_folder(dir.path()).expect("lists");
    let (test, warnings) = Listing::from_folder(apart.path()).expect("lists");
    assert!(warnings.len() == 1 && warnings[0].to_string().contains("pipe.png"), "{warnings:?}");
    assert_eq!(test.aligned(&train.classes).expect("the same class").class_sizes(), [0, 1]);
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
    assert!(error.contains("`b` is not among the classes of the task (c, a)"), "{error}");
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
