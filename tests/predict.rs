//! What a saved task says of itself and of images, out of a folder or a zip.

mod support;

use std::{fs, io::Write as _, path::Path};

use support::{
    Place, json, run, succeed,
    tasks::{adapt, difference},
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
