//! What the command line says of bad input: a reason, what to do, and the exit code.

mod support;

use std::{fs, path::Path};

use support::{Place, golden, json, run, succeed, tiny_model};

#[test]
fn a_bad_image_among_good_ones_is_named_and_the_rest_goes_on() {
    let place = Place::new();
    fs::write(place.path("train/down/broken.jpg"), b"\xff\xd8\xff\xe0 no picture").expect("file");
    fs::write(place.path("train/down/notes.txt"), b"hello").expect("file");
    let out = place.path("out.json");
    let (code, text, err) = place.adapt(&["--methods", "linear-probe", "--json", &out]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("broken.jpg") && err.contains("notes.txt"), "{err}");
    assert!(text.contains("linear-probe"), "{text}");
    let report = json(Path::new(&out));
    assert_eq!((&report["num_train"], report["warnings"].as_array().map(Vec::len)), (&12.into(), Some(2)));
    let picture = place.path("train/down/000.png");
    let broken = place.path("train/down/broken.jpg");
    let (code, text, err) =
        run(&["classify", "--model", &tiny_model(), "--device", "cpu", &broken, &picture]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("broken.jpg") && text.contains("000.png"), "{text}{err}");
}

#[test]
fn a_folder_of_what_was_meant_is_told_from_it() {
    let place = Place::new();
    place.train_module("modules/one", "1");
    let modules = place.path("modules");
    let (code, _, err) = place.adapt(&["--methods", "uniform", "--modules", &modules]);
    assert!(code == 2 && err.contains(&format!("{modules}/*")), "{err}");
    let empty = place.path("empty");
    fs::create_dir(&empty).expect("folder");
    let (code, _, err) = run(&["classify", "--model", &tiny_model(), "--device", "cpu", &empty]);
    assert!(code == 2 && err.contains("images: there are none"), "{err}");
}

#[test]
fn an_archive_where_a_folder_is_wanted_is_to_be_unpacked() {
    let place = Place::new();
    let (zip, tar, train, model) =
        (place.path("x.zip"), place.path("x.tar"), place.path("train"), tiny_model());
    for file in [&zip, &tar] {
        fs::write(file, b"packed").expect("file");
    }
    let photo = place.path("train/down/000.png");
    for (arguments, file) in [
        (["adapt", "--model", &model, "--train", &train, "--modules", &zip], &zip),
        (["adapt", "--model", &model, "--modules", "none", "--train", &tar], &tar),
        (["adapt", "--modules", "none", "--train", &train, "--model", &zip], &zip),
        (["adapt", "--model", &model, "--modules", "none", "--train", &photo], &photo),
    ] {
        let (code, _, err) = run(&[&arguments[..], &["--device", "cpu"]].concat());
        let advice = if *file == photo { "name the folder that it is in" } else { "unpack it" };
        let expected = format!("{file}: it is a file, and a folder is wanted; {advice}");
        assert!(code == 2 && err.contains(&expected), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(&["predict", "--task", &tar, &photo]);
    assert!(code == 2 && err.contains("give the folder that --save wrote, or the zip"), "{err}");
}

#[test]
fn test_images_that_were_learned_from_are_told() {
    let place = Place::new();
    fs::copy(place.path("train/down/000.png"), place.path("test/down/copy.png")).expect("copies");
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean"]);
    assert!(code == 1 && err.contains("1 of 10 are training images"), "{err}");
    let (model, data, test, out) =
        (tiny_model(), place.path("train"), place.path("test"), place.path("module"));
    let module = ["train-module", "--model", &model, "--device", "cpu", "--data", &data, "--test", &test];
    let (code, _, err) = run(&[&module[..], &["--steps", "2", "--out", &out]].concat());
    assert!(code == 1 && err.contains("1 of 10 are training images"), "{err}");
}

#[test]
fn a_picture_of_two_classes_and_a_class_without_test_images_are_told() {
    let place = Place::new();
    fs::copy(place.path("train/down/000.png"), place.path("train/across/copy.png")).expect("copies");
    fs::remove_dir_all(place.path("test/diagonal")).expect("removes");
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean"]);
    assert!(code == 1 && err.contains("no images of `diagonal`"), "{err}");
    assert!(err.contains("are the same picture in two classes;") && err.contains("copy.png"), "{err}");
}

#[test]
fn a_test_class_that_cannot_be_read_is_left_out_and_a_training_class_is_not() {
    let place = Place::new();
    for index in 10..13 {
        fs::write(place.path(&format!("test/down/0{index}.png")), b"no picture").expect("file");
    }
    let out = place.path("out.json");
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean", "--json", &out]);
    assert!(code == 1 && err.contains("no image of class `down` can be read"), "{err}");
    assert_eq!(json(Path::new(&out))["num_test"], 6);
    let train = place.path("test");
    let (code, _, err) = run(&["adapt", "--model", &tiny_model(), "--train", &train, "--device", "cpu"]);
    assert!(code == 2 && err.contains("no image of class `down` can be read (the first"), "{err}");
}

#[test]
fn a_photo_that_cannot_be_read_does_not_end_a_base_models_training() {
    let place = Place::new();
    fs::write(place.path("train/down/broken.png"), b"no picture").expect("file");
    fs::write(place.path("train/down/notes.txt"), b"hello").expect("file");
    let (data, out) = (place.path("train"), place.path("base"));
    let shape =
        ["--img-size", "16", "--patch-size", "8", "--embed-dim", "8", "--depth", "1", "--num-heads", "1"];
    let how = ["--validation", "1", "--batch-size", "4", "--epochs", "1", "--device", "cpu"];
    let (code, text, err) =
        run(&[&["pretrain", "--data", &data, "--out", &out], &shape[..], &how[..]].concat());
    assert!(code == 1 && err.contains("broken.png") && err.contains("notes.txt"), "{err}");
    assert!(text.contains("student"), "{text}");

    // What it ends in is no other model's place, and no place of what is no number.
    let pretrain =
        |more: &[&str]| run(&[&["pretrain", "--data", &data][..], &shape[..], &how[..], more].concat());
    let saved = |file: &str| fs::read(place.path(file)).expect("a file");
    let theirs = place.own_model("theirs");
    let before = saved("theirs/model.safetensors");
    let (code, _, err) = pretrain(&["--out", &theirs]);
    assert!(code == 2 && err.contains("model.safetensors of something else"), "{err}");
    assert_eq!(saved("theirs/model.safetensors"), before);
    let wild = place.path("wild");
    let (code, _, err) = pretrain(&["--out", &wild, "--learning-rate", "1e30"]);
    assert!(
        code == 2 && err.contains("the loss is not a number") && err.contains("--learning-rate"),
        "{err}"
    );
    assert!(!Path::new(&wild).join("model.safetensors").exists());
}

#[test]
fn a_report_does_not_take_the_place_of_something_else() {
    let place = Place::new();
    let [first, second] = ["train/down/000.png", "train/down/001.png"].map(|file| place.path(file));
    let before = fs::read(&first).expect("a picture");
    // The file's name is forgotten.
    let classify = ["classify", "--model", &tiny_model(), "--device", "cpu", "--json", &first, &second];
    let (code, _, err) = run(&classify);
    assert!(code == 2 && err.contains("000.png") && err.contains("no JSON"), "{err}");
    assert_eq!(fs::read(&first).expect("a picture"), before);
    let report = place.path("out.json");
    for _ in 0..2 {
        let (code, _, err) = place.adapt(&["--methods", "nearest-mean", "--json", &report]);
        assert_eq!(code, 0, "{err}");
    }
}

/// A mean that makes every pixel infinite stands for damaged weights and modules: nothing is a number in the end.
#[test]
fn what_is_no_number_is_never_an_answer() {
    let place = Place::new();
    let (model, picture) = (tiny_model(), place.path("train/down/000.png"));
    let infinite = ["--mean", "-1e38,-1e38,-1e38", "--std", "1e-3,1e-3,1e-3"];
    let classify = ["classify", "--model", &model, "--device", "cpu", &picture];
    let (code, text, err) = run(&[&classify[..], &infinite[..]].concat());
    assert!(code == 2 && err.contains("error[not-finite]") && !text.contains("NaN"), "{text}{err}");
    let (code, _, err) = run(&[&classify[..], &["--std", "1e-45,1e-45,1e-45"]].concat());
    assert!(code == 2 && err.contains("--std"), "no reciprocal: {err}");
    let adapt = [&["--methods", "nearest-mean"], &infinite[..]].concat();
    let (code, text, err) = place.adapt(&adapt);
    assert!(code == 2 && err.contains("error[not-finite]") && !text.contains('%'), "{text}{err}");
    let [input, model, adapter] = ["written/input.safetensors", "tiny-vit", "all-head"]
        .map(|name| golden("adapters").join(name).display().to_string());
    let out = place.path("out.safetensors");
    let forward = ["forward", "--model", &model, "--device", "cpu", "--input", &input, "--output", &out];
    let (code, _, err) = run(&[&forward[..], &["--adapter", &adapter, "--weights", "1e30"]].concat());
    assert!(code == 2 && err.contains("`last_hidden_state`"), "{err}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn modules_that_ship_for_another_model_of_the_same_name_are_left_out() {
    let place = Place::new();
    let (model, train) = (place.own_model("deit-tiny-patch16-224"), place.path("train"));
    let how = ["--train", &train, "--device", "cpu", "--methods", "auto", "--steps", "1", "--folds", "0"];
    let adapt = [&["adapt", "--model", &model], &how[..]].concat();
    let (code, text, err) = run(&adapt);
    assert!(code == 1 && err.contains("--modules none") && err.contains("made for another model"), "{err}");
    assert!(text.contains("linear-probe") && !text.contains("uniform"), "{text}");
    succeed(&[&adapt[..], &["--modules", "none"]].concat());
}

#[test]
fn an_input_size_that_no_model_can_have_is_refused() {
    let place = Place::new();
    let large = ["classify", "--model", &tiny_model(), "--img-size", "2048", "--device", "cpu"];
    let (code, _, err) = run(&[&large[..], &[&place.path("train/down/000.png")]].concat());
    assert!(code == 2 && err.contains("65536 patches"), "{err}");
    let (model, photo) = (place.own_model("model"), place.path("photo.png"));
    image::RgbImage::new(32, 32).save(&photo).expect("picture");
    for size in ["0", "17", "1000000000", "18446744073709551615"] {
        let (code, _, err) =
            run(&["classify", "--model", &model, "--device", "cpu", "--img-size", size, &photo]);
        assert!(code == 2 && err.contains("an input of") && err.contains("not a multiple"), "{size}: {err}");
    }
}

#[test]
fn the_parts_of_a_task_are_not_taken_for_its_classes() {
    let place = Place::new();
    let task = place.path("");
    let (code, _, err) = run(&["adapt", "--model", &tiny_model(), "--train", &task, "--device", "cpu"]);
    assert!(code == 2 && err.contains("the parts of a task") && err.contains(&place.path("train")), "{err}");
    // Classes may have these names; those have no folders in them.
    fs::rename(place.path("train/down"), place.path("train/train")).expect("renames");
    fs::rename(place.path("test/down"), place.path("test/train")).expect("renames");
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean"]);
    assert!(
        code == 0 && text.contains("3 classes (across, diagonal, train), 12 training images, 9 test"),
        "{text}{err}"
    );
    let out = place.path("out");
    let (code, _, err) = run(&["experiment", "--tasks", &place.path("train"), "--out", &out]);
    assert!(code == 2 && err.contains("a task is a folder with train and test"), "{err}");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_anything_is_trained() {
    let place = Place::new();
    let (inside, data) = (place.path("train/down/000.png/x"), place.path("train"));
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--save", &inside]);
    assert!(
        code == 2 && text.is_empty() && err.contains(&inside) && err.contains("is a file"),
        "{text}{err}"
    );
    let module =
        ["train-module", "--model", &tiny_model(), "--device", "cpu", "--data", &data, "--out", &inside];
    let (code, text, err) = run(&module);
    assert!(code == 2 && text.is_empty() && err.contains(&inside), "{text}{err}");
}

#[test]
fn an_image_that_cannot_be_cropped_is_named_and_the_rest_goes_on() {
    let place = Place::new();
    let model = place.own_model("model");
    fs::write(format!("{model}/preprocessor_config.json"), r#"{"do_resize": false}"#).expect("writes");
    let (fits, large) = (place.path("fits.png"), place.path("large.png"));
    image::RgbImage::new(32, 32).save(&fits).expect("picture");
    image::RgbImage::new(40, 32).save(&large).expect("picture");
    let (code, text, err) = run(&["classify", "--model", &model, "--device", "cpu", &large, &fits]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&large) && err.contains("40x32") && text.contains("fits.png"), "{text}{err}");
    let (code, _, err) = run(&["classify", "--model", &model, "--device", "cpu", &large]);
    assert!(code == 2 && err.contains("none of them could be read"), "{err}");
}

#[test]
fn a_failing_save_does_not_cost_the_report() {
    let place = Place::new();
    fs::create_dir_all(place.path("task/task.json")).expect("a folder in the way");
    let (out, save) = (place.path("out.json"), place.path("task"));
    let (code, text, err) = place.adapt(&["--methods", "nearest-mean", "--json", &out, "--save", &save]);
    assert!(code == 2 && err.contains("task.json") && text.contains("nearest-mean"), "{text}{err}");
    assert_eq!(json(Path::new(&out))["methods"][0]["method"], "nearest-mean");
}

#[test]
fn weights_that_are_no_numbers_and_oblong_inputs_are_refused_with_advice() {
    let place = Place::new();
    let adapter = golden("adapters/qv").display().to_string();
    for weight in ["nan", "inf"] {
        let (code, _, err) =
            run(&["compose", "--adapters", &adapter, "--weights", weight, "--out", &place.path("x")]);
        assert!(code == 2 && err.contains("weights"), "{err}");
    }
    let input = place.path("in.safetensors");
    let bytes = vec![0; 4 * 3 * 24 * 40];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 3, 24, 40], &bytes);
    let file = safetensors::serialize([("pixel_values", view.expect("a tensor"))], None);
    fs::write(&input, file.expect("serialises")).expect("writes");
    let out = place.path("out.safetensors");
    let model = tiny_model();
    let forward = ["forward", "--model", &model, "--device", "cpu", "--input", &input, "--output", &out];
    let (code, _, err) = run(&forward);
    assert!(code == 2 && err.contains("40x24 pixels, but the model takes 32x32"), "{err}");
    let module = place.train_module("module", "1");
    let weights = ["--adapter", &module, "--weights", "nan"];
    let (code, _, err) = run(&[&forward[..], &weights[..]].concat());
    assert!(code == 2 && err.contains("--weights"), "{err}");
    for command in ["predict", "forward", "info", "completions"] {
        assert!(succeed(&[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn one_fold_is_refused() {
    let place = Place::new();
    let (model, train) = (tiny_model(), place.path("train"));
    let (code, _, err) = run(&["adapt", "--model", &model, "--train", &train, "--folds", "1"]);
    assert!(code == 2 && err.contains("2 or more, or 0"), "{err}");
    let (settings, out, module) =
        (place.path("settings.json"), place.path("out"), place.train_module("m", "1"));
    fs::write(&settings, r#"{"folds": 1}"#).expect("writes");
    let task = place.path("");
    let (code, _, err) = run(&[
        "experiment",
        "--model",
        &model,
        "--tasks",
        &task,
        "--modules",
        &module,
        "--settings",
        &settings,
        "--out",
        &out,
    ]);
    assert!(code == 2 && err.contains("2 or more, or 0"), "{err}");
}

#[test]
fn a_folder_in_another_format_is_told_what_to_do() {
    let place = Place::new();
    let picture = place.path("train/down/000.png");
    for (files, advice) in [
        (["config.json", "pytorch_model.bin"], "save_pretrained"),
        (["config.json", "model.safetensors.index.json"], "shards"),
        (["adapter_config.json", "adapter_model.safetensors"], "--modules"),
    ] {
        let dir = place.path(files[1]);
        fs::create_dir(&dir).expect("folder");
        files.iter().for_each(|file| fs::write(format!("{dir}/{file}"), "{}").expect("writes"));
        let (code, _, err) = run(&["classify", "--model", &dir, "--device", "cpu", &picture]);
        assert!(code == 2 && err.contains(advice), "{files:?}: {err}");
    }
}

#[test]
fn a_closed_pipe_is_the_readers_choice() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"))
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_cannot_work_ends_with_code_2_and_a_reason() {
    let place = Place::new();
    let (model, train, picture) = (tiny_model(), place.path("train"), place.path("train/down/000.png"));
    let empty = place.path("empty");
    fs::create_dir(&empty).expect("folder");
    let bare = golden("models/vit-bare").display().to_string();
    let cases: [(&[&str], &str); 9] = [
        (&["classify", "--model", &empty, &picture], "config.json"),
        (&["classify", "--model", "nobody/nothing", &picture], "HF_HUB_OFFLINE"),
        (&["classify", "--model", &bare, "--device", "cpu", &picture], "no classification head"),
        (&["adapt", "--model", &model, "--train", &empty], "class folders"),
        (&["adapt", "--model", &model, "--train", &train, "--methods", "magic"], "the methods are"),
        (&["adapt", "--model", &model, "--train", &train, "--methods", "uniform"], "--modules"),
        (&["adapt", "--model", &model, "--train", &train, "--modules", &empty], "adapter_config.json"),
        (&["predict", "--task", &empty, &picture], "no task.json in it; give the folder"),
        (&["compose", "--adapters", &empty, "--out", &place.path("x")], "adapter_config.json"),
    ];
    for (arguments, part) in cases {
        let (code, _, err) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(part) && err.contains("error["), "{arguments:?}: {err}");
    }
    assert!(!Path::new(&place.path("x")).exists(), "nothing half-written");
}

#[test]
fn broken_checkpoints_are_refused_by_name() {
    let place = Place::new();
    let picture = place.path("train/down/000.png");
    let whole = fs::read(golden("models/vit/model.safetensors")).expect("weights");
    let config = fs::read_to_string(golden("models/vit/config.json")).expect("config");
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let deeper = config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    let huge = config.replace("\"hidden_size\": 32", "\"hidden_size\": 4000000000");
    for (name, config, weights) in [
        ("truncated", &*config, &whole[..whole.len() / 2]),
        ("empty", &config, b""),
        ("header", &config, &u64::MAX.to_le_bytes()[..]),
        ("nan", &config, &nan),
        ("deeper", &deeper, &whole),
        ("huge", &huge, &whole),
        ("text", "{", &whole),
    ] {
        let dir = place.path(name);
        fs::create_dir(&dir).expect("folder");
        fs::write(format!("{dir}/config.json"), config).expect("config");
        fs::write(format!("{dir}/model.safetensors"), weights).expect("weights");
        let (code, out, err) = run(&["classify", "--model", &dir, "--device", "cpu", &picture]);
        assert_eq!(code, 2, "{name}: {out}{err}");
        assert!(err.contains(&dir), "{name} names the file: {err}");
    }
}
