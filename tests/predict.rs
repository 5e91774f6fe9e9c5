//! What a saved task says of itself and of images, out of a folder or a zip.

mod support;

use std::{fs, io::Write as _, path::Path};

use support::{
    Place, json, run, succeed,
    tasks::{adapt, difference, save},
    tiny_model,
};

#[test]
fn a_saved_task_says_how_well_it_did() {
    let place = Place::new();
    let (task, out) = (place.path("task"), place.path("out.json"));
    let (code, _, err) =
        place.adapt(&["--methods", "lora", "--modules", "none", "--save", &task, "--json", &out]);
    assert_eq!(code, 0, "{err}");
    let report = json(Path::new(&out));
    let (measured, method) = (&json(&Path::new(&task).join("task.json"))["measured"], &report["methods"][0]);
    for field in [
        "test_accuracy",
        "test_interval",
        "held_out_accuracy",
        "held_out_folds",
        "trainable_parameters",
        "steps",
    ] {
        assert!(!method[field].is_null(), "{field}");
        assert_eq!(measured[field], method[field], "{field}");
    }
    assert_eq!(measured["train_images"], report["num_train"]);
    let share = |field: &str| 100.0 * method[field].as_f64().expect("a number");
    let (test, held_out) = (share("test_accuracy"), share("held_out_accuracy"));
    let line = format!(
        "saved task of lora, 3 classes, {} images: test {test:.1} %, held out {held_out:.1} %",
        report["num_train"]
    );
    let text = succeed(&["info", "--modules", &task]);
    assert!(text.contains(&line), "{text}");
}

#[test]
fn a_task_answers_by_as_many_crops_as_it_was_measured_with() {
    let place = Place::new();
    for (said, crops) in [
        (&["--multi-crop"][..], true),
        (&["--multi-crop", "true", "--merged"], true),
        (&["--multi-crop", "false"], false),
    ] {
        let task = place.path(&said.join(""));
        let saved = [&["--modules", "none", "--save", &task], said].concat();
        let report = save(&place, &tiny_model(), "lora", &saved);
        let path = Path::new(&task).join("task.json");
        let mut described = json(&path);
        assert_eq!(described["multi_crop"].as_bool(), crops.then_some(true), "not said where it is not so");
        assert!(difference(&place, &report, &task) < 1e-5, "{said:?}");
        described["multi_crop"] = (!crops).into();
        fs::write(&path, described.to_string()).expect("writes");
        assert!(difference(&place, &report, &task) > 1e-5, "{said:?}: answered the other way");
    }
}

/// Zips the files of a saved task, but for one, in each of some folders.
fn zipped(place: &Place, task: &str, folders: &[&str], without: &str) -> String {
    let path = place.path("task.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("file"));
    for folder in folders {
        for entry in fs::read_dir(task).expect("lists").map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().into_string().expect("text");
            if name != without {
                let options = zip::write::SimpleFileOptions::default();
                zip.start_file(format!("{folder}{name}"), options).expect("starts");
                zip.write_all(&fs::read(entry.path()).expect("reads")).expect("writes");
            }
        }
    }
    zip.finish().expect("finishes");
    path
}

#[test]
fn a_saved_task_answers_out_of_its_zip() {
    let place = Place::new();
    for (method, folder) in [("lora", "mine/"), ("full", "")] {
        let task = place.path(method);
        let report = adapt(&place, &tiny_model(), method, &task);
        let zip = zipped(&place, &task, &[folder, "__MACOSX/"], "");
        assert_eq!(difference(&place, &report, &zip), difference(&place, &report, &task), "{method}");
        let weights = if method == "lora" { "adapter_model.safetensors" } else { "model.safetensors" };
        if method == "full" {
            let other = ["--model", &tiny_model(), &place.path("test/down/010.png")];
            let (code, _, err) = run(&[&["predict", "--task", &task], &other[..]].concat());
            assert!(code == 2 && err.contains("holds a whole model of its own; leave it out"), "{err}");
        }
        for (folders, without, part) in [
            (&["mine/"][..], weights, weights),
            (&["mine/"][..], "task.json", "no task.json in it"),
            (&["one/", "two/"][..], "", "2 of task.json in it"),
        ] {
            let zip = zipped(&place, &task, folders, without);
            let (code, _, err) = run(&["predict", "--task", &zip, &place.path("test/down/010.png")]);
            assert!(code == 2 && err.contains(part), "{method}, {part}: {err}");
        }
    }
    let (code, _, err) =
        run(&["predict", "--task", &place.path("nowhere"), &place.path("test/down/010.png")]);
    assert!(code == 2 && err.contains("nowhere: there is no such folder or file; give the folder"), "{err}");
}

#[test]
fn what_is_no_saved_task_or_not_of_its_classes_is_told() {
    let place = Place::new();
    let (task, photo) = (place.path("task"), place.path("test/down/010.png"));
    assert_eq!(place.adapt(&["--methods", "nearest-mean", "--save", &task]).0, 0);
    let predict =
        |task: &str, more: &[&str]| run(&[&["predict", "--device", "cpu", "--task", task], more].concat());
    let (code, _, err) = predict(&task, &["--test", &place.path("")]);
    assert!(code == 2 && err.contains(&format!("as {}", place.path("test"))), "{err}");
    fs::rename(place.path("test/down"), place.path("test/up")).expect("renames");
    let (code, _, err) = predict(&task, &["--test", &place.path("test")]);
    let part = "class `up` is not among the classes of the task (across, diagonal, down)";
    assert!(code == 2 && err.contains(part), "{err}");
    fs::rename(place.path("test/up"), place.path("test/down")).expect("renames");

    let project = place.path("project.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&project).expect("file"));
    let file = serde_json::json!({
        "format": 1, "model": "embedded", "config": {}, "methods": [], "classes": [], "modules": [], "results": [],
    });
    zip.start_file("project.json", zip::write::SimpleFileOptions::default()).expect("starts");
    zip.write_all(file.to_string().as_bytes()).expect("writes");
    zip.finish().expect("finishes");
    let (code, _, err) = predict(&project, &[&photo]);
    assert!(code == 2 && err.contains(&format!("loraloom replay {project}")), "{err}");
    let (code, _, err) = run(&["replay", &place.path("train")]);
    assert!(code == 2 && err.contains("it is a folder, and a project is a zip"), "{err}");
}

#[test]
fn a_task_of_other_classes_that_is_replaced_is_told() {
    let place = Place::new();
    let (model, train, task) = (tiny_model(), place.path("train"), place.path("task"));
    let adapt = || {
        let how = ["--device", "cpu", "--methods", "nearest-mean", "--modules", "none", "--save", &task];
        run(&[&["adapt", "--model", &model, "--train", &train], &how[..]].concat())
    };
    for renamed in [false, false, true] {
        if renamed {
            fs::rename(place.path("train/down"), place.path("train/up")).expect("renames");
        }
        let (code, _, err) = adapt();
        let note = format!("note: replaced the task of across, diagonal, down that was in {task}");
        assert!(code == 0 && err.contains(&note) == renamed, "{err}");
    }
}

#[cfg(unix)]
#[test]
fn control_characters_of_names_are_written_out_for_a_terminal_alone() {
    let place = Place::new();
    let (task, out, csv) = (place.path("task"), place.path("out.json"), place.path("out.csv"));
    assert_eq!(place.adapt(&["--methods", "nearest-mean", "--save", &task]).0, 0);
    let (raw, shown) = ("a\u{1b}[31m\nb", r"a\u{1b}[31m\nb");
    let at = |name: &str| place.path(&format!("photos/down/{name}.png"));
    fs::create_dir_all(place.path("photos/down")).expect("a folder");
    fs::copy(place.path("test/down/010.png"), at(raw)).expect("copies");
    fs::write(at(&format!("bad {raw}")), b"no picture").expect("writes");
    let predict = ["predict", "--task", &task, "--device", "cpu", "--json", &out, "--csv", &csv];
    let photos = place.path("photos");
    for how in [&[photos.as_str()][..], &["--test", &photos]] {
        let (code, text, err) = run(&[&predict[..], how].concat());
        assert!(code == 1 && err.contains(&at(&format!("bad {shown}"))), "{err}");
        assert!(!(text + &err).contains('\u{1b}'));
        assert!(fs::read_to_string(&csv).expect("a table").contains(&at(raw)), "as it is");
        let report = json(Path::new(&out));
        let first = if how.len() == 1 { &report[0] } else { &report["images"][0] };
        assert_eq!(first["image"], at(raw));
    }
    let text = run(&[&predict[..], &[&photos]].concat()).1;
    assert!(text.starts_with(&format!("{}: ", at(shown))), "{text}");
}

#[test]
fn what_is_not_sure_enough_is_said_and_counted() {
    let place = Place::new();
    let (task, test, out) = (place.path("task"), place.path("test"), place.path("out.json"));
    assert_eq!(place.adapt(&["--methods", "nearest-mean", "--save", &task]).0, 0);
    let predict = ["predict", "--task", &task, "--device", "cpu", "--json", &out];
    succeed(&[&predict[..], &["--top", "1", &test]].concat());
    let answers = json(Path::new(&out));
    let highest = |answer: &serde_json::Value| answer["top"][0]["probability"].as_f64().expect("a number");
    let mut all: Vec<f64> = answers.as_array().expect("answers").iter().map(highest).collect();
    all.sort_by(f64::total_cmp);
    // Between two of them, so that some are on either side.
    let bound = format!("{:.6}", all[3].midpoint(all[4]));
    let is_sure = |answer: &serde_json::Value| highest(answer) >= bound.parse().expect("a number");
    let text = succeed(&[&predict[..], &["--unsure", &bound, &test]].concat());
    assert_eq!(text.matches(": not sure: ").count(), 4, "{text}");
    assert_eq!(succeed(&[&predict[..], &["--unsure", "0", &test]].concat()).matches("not sure").count(), 0);

    let text = succeed(&[&predict[..], &["--test", &test, "--unsure", &bound]].concat());
    let scores = json(Path::new(&out));
    let images = scores["images"].as_array().expect("images");
    let sure: Vec<_> = images.iter().filter(|image| is_sure(image)).collect();
    let right = sure.iter().filter(|image| image["class"] == image["top"][0]["index"]).count();
    let counted = ["total", "correct"].map(|field| scores["sure"]["accuracy"][field].as_u64());
    assert_eq!(counted, [Some(5), Some(right as u64)]);
    assert!(sure.len() == 5 && text.contains(" of 5, accuracy "), "{text}");
    let text = succeed(&[&predict[..], &["--test", &test, "--unsure", "1"]].concat());
    assert!(text.contains(" of 0\n"), "{text}");
    let (code, _, err) = run(&[&predict[..], &["--unsure", "60", &test]].concat());
    assert!(code == 2 && err.contains("no number between 0 and 1"), "{err}");
}
