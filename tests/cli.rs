//! The command line as a person uses it: train modules, compare every method, save, predict, and get it wrong.

mod support;

use std::{fs, path::Path};

use safetensors::SafeTensors;
use support::{draw, golden, json, run, succeed, tiny_model, write_task};

const CLASSES: [&str; 3] = ["across", "diagonal", "down"];

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        write_task(&dir.path().join("train"), &CLASSES, 0, 4);
        write_task(&dir.path().join("test"), &CLASSES, 10, 3);
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn train_module(&self, name: &str, seed: &str) -> String {
        self.train_module_of_rank("2", name, seed)
    }

    fn train_module_of_rank(&self, rank: &str, name: &str, seed: &str) -> String {
        let (model, data, out) = (tiny_model(), self.path("train"), self.path(name));
        succeed(&[
            "train-module",
            "--model",
            &model,
            "--device",
            "cpu",
            "--data",
            &data,
            "--out",
            &out,
            "--steps",
            "3",
            "--rank",
            rank,
            "--seed",
            seed,
        ]);
        out
    }

    fn adapt(&self, extra: &[&str]) -> (i32, String, String) {
        let (model, train, test) = (tiny_model(), self.path("train"), self.path("test"));
        let mut arguments =
            vec!["adapt", "--model", &model, "--device", "cpu", "--train", &train, "--test", &test];
        arguments.extend_from_slice(&["--steps", "4", "--folds", "2"]);
        arguments.extend_from_slice(extra);
        run(&arguments)
    }
}

#[test]
fn every_method_runs_side_by_side_and_twice_the_same() {
    let place = Place::new();
    let (a, b) = (place.train_module("a", "1"), place.train_module("b", "2"));
    let reports: Vec<serde_json::Value> = ["one.json", "two.json"]
        .iter()
        .map(|name| {
            let out = place.path(name);
            let (code, text, err) = place.adapt(&["--methods", "all", "--modules", &a, &b, "--json", &out]);
            assert_eq!(code, 0, "{err}");
            assert!(text.contains("learned: mean weight of each module"), "{text}");
            let mut report = json(Path::new(&out));
            for method in report["methods"].as_array_mut().expect("methods") {
                assert!(method["seconds"].as_f64().expect("seconds") >= 0.0);
                method["seconds"] = 0.into();
            }
            report
        })
        .collect();
    assert_eq!(reports[0], reports[1], "a seed decides everything on the CPU");
    check_methods(reports[0]["methods"].as_array().expect("methods"));
}

fn check_methods(methods: &[serde_json::Value]) {
    assert_eq!(methods.len(), 14);
    for method in methods {
        let name = method["method"].as_str().expect("name");
        let accuracy = method["test_accuracy"].as_f64().expect(name);
        assert!((0.0..=1.0).contains(&accuracy), "{name}");
        let held_out = method["loo_accuracy"].as_f64().expect(name);
        let ends = method["loo_interval"].as_array().expect(name);
        assert!(ends[0].as_f64() <= Some(held_out) && Some(held_out) <= ends[1].as_f64(), "{name}");
        let parameters = method["trainable_parameters"].as_u64().expect(name);
        assert_eq!(parameters == 0, name == "nearest-mean", "{name}");
        if name == "learned" {
            assert_eq!(method["steps"], 4);
            let groups = method["coefficients"]["weights"].as_array().expect("weights");
            assert_eq!(groups.len(), 12, "two blocks of six linear layers");
            for group in groups {
                let sum: f64 = group.as_array().expect("row").iter().filter_map(|v| v.as_f64()).sum();
                assert!((sum - 1.0).abs() < 1e-5, "softmax weights sum to one: {sum}");
            }
        }
    }
}

#[test]
fn modules_of_different_ranks_leave_lorahub_out_or_say_why() {
    let place = Place::new();
    let modules = [place.train_module_of_rank("2", "a", "1"), place.train_module_of_rank("3", "b", "2")];
    let modules = ["--modules", &modules[0], &modules[1]];
    let (code, text, err) = place.adapt(&[&["--methods", "uniform,lorahub"], &modules[..]].concat());
    assert_eq!(code, 1, "the other method is not lost: {text}");
    assert!(text.contains("uniform") && err.contains("lorahub needs modules of one rank"), "{err}");
    let (code, text, err) = place.adapt(&[&["--methods", "auto"], &modules[..]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(text.contains("learned+lora") && !text.contains("lorahub"), "{text}");
}

#[test]
fn what_is_saved_predicts_what_was_measured() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    for method in ["nearest-mean", "learned", "uniform+lora", "full", "lorahub"] {
        let (task, out) = (place.path(method), place.path("adapt.json"));
        let modules = ["--modules", &module];
        let (code, text, err) =
            place.adapt(&[&["--methods", method, "--save", &task, "--json", &out], &modules[..]].concat());
        assert_eq!(code, 0, "{err}");
        assert!(text.contains(&format!("saved {method} to")), "{text}");
        let measured = json(Path::new(&out))["methods"][0]["test_accuracy"].as_f64().expect("accuracy");
        let images: Vec<String> = CLASSES
            .iter()
            .flat_map(|class| (10..13).map(move |index| format!("test/{class}/{index:03}.png")))
            .map(|name| place.path(&name))
            .collect();
        let predictions = place.path("predictions.json");
        let mut arguments = vec!["predict", "--task", &task, "--device", "cpu", "--json", &predictions];
        arguments.extend(images.iter().map(String::as_str));
        succeed(&arguments);
        let found = json(Path::new(&predictions));
        let found = found.as_array().expect("predictions");
        let hits = found.iter().enumerate().filter(|(i, p)| p["top"][0]["label"] == CLASSES[i / 3]).count();
        assert!((hits as f64 / 9.0 - measured).abs() < 1e-9, "{method}: {hits} of 9, measured {measured}");
    }
}

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
fn an_image_that_cannot_be_cropped_is_named_and_the_rest_goes_on() {
    let place = Place::new();
    let model = place.path("model");
    fs::create_dir(&model).expect("folder");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("models/vit").join(file), format!("{model}/{file}")).expect("copies");
    }
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
    fs::write(place.path("file"), "in the way").expect("file");
    let (out, save) = (place.path("out.json"), place.path("file/task"));
    let (code, _, err) = place.adapt(&["--methods", "nearest-mean", "--json", &out, "--save", &save]);
    assert_eq!(code, 2, "{err}");
    assert_eq!(json(Path::new(&out))["methods"][0]["method"], "nearest-mean");
}

#[test]
fn a_saved_task_is_found_from_another_folder_and_its_warnings_count() {
    let place = Place::new();
    let model = place.path("own-model");
    fs::create_dir(&model).expect("folder");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("models/vit").join(file), format!("{model}/{file}")).expect("copies");
    }
    let binary = env!("CARGO_BIN_EXE_loraloom");
    let status = std::process::Command::new(binary)
        .args(["adapt", "--model", "own-model", "--train", "train", "--methods", "nearest-mean"])
        .args(["--device", "cpu", "--save", "task"])
        .current_dir(place.dir.path())
        .status();
    assert!(status.expect("runs").success());
    let (task, picture) = (place.path("task"), place.path("train/down/000.png"));
    succeed(&["predict", "--task", &task, "--device", "cpu", &picture]);
    let path = place.dir.path().join("task/adapter_config.json");
    let mut config = json(&path);
    config["use_warp"] = true.into();
    fs::write(&path, config.to_string()).expect("writes");
    let (code, _, err) = run(&["predict", "--task", &task, "--device", "cpu", &picture]);
    assert!(code == 1 && err.contains("use_warp"), "{code} {err}");
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
fn a_task_keeps_the_cropping_that_was_asked_for() {
    let place = Place::new();
    let (task, model, train) = (place.path("task"), tiny_model(), place.path("train"));
    let adapt =
        ["adapt", "--model", &model, "--device", "cpu", "--train", &train, "--methods", "nearest-mean"];
    succeed(&[&adapt[..], &["--save", &task, "--crop-pct", "0.8", "--resample", "bicubic"]].concat());
    let saved = json(Path::new(&format!("{task}/task.json")));
    assert_eq!(saved["cropping"], serde_json::json!({"share": 0.8}));
    assert_eq!(saved["filter"], "bicubic");
    succeed(&["predict", "--task", &task, "--device", "cpu", &place.path("train/down/000.png")]);
    let (code, _, err) = run(&[&adapt[..], &["--crop-pct", "0"]].concat());
    assert!(code == 2 && err.contains("--crop-pct"), "{err}");
    let (code, _, err) = run(&[&adapt[..], &["--resample", "cubic"]].concat());
    assert!(code == 2 && err.contains("bicubic"), "{err}");
}

#[test]
fn one_fold_is_refused() {
    let place = Place::new();
    let (model, train) = (tiny_model(), place.path("train"));
    let (code, _, err) = run(&["adapt", "--model", &model, "--train", &train, "--folds", "1"]);
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
fn one_image_per_class_works_and_says_that_nothing_can_be_held_out() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    let (code, text, err) = place.adapt(&["--shots", "1", "--methods", "all", "--modules", &module]);
    assert_eq!(code, 0, "{err}");
    let probe = text.lines().find(|line| line.starts_with("linear-probe")).expect("row");
    assert_eq!(probe.split_whitespace().filter(|cell| *cell == "-").count(), 2, "{probe}");
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
        (&["predict", "--task", &empty, &picture], "task.json"),
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

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_learned() {
    let place = Place::new();
    let (model, train, task) = (tiny_model(), place.path("train"), place.path("task"));
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_loraloom"))
        .args(["adapt", "--model", &model, "--device", "cpu", "--train", &train, "--methods", "lora,full"])
        .args(["--steps", "100000000", "--save", &task])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    std::thread::sleep(std::time::Duration::from_secs(4));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = child.wait_with_output().expect("ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("1 of 2 methods"), "{err}");
    let picture = place.path("train/down/000.png");
    succeed(&["predict", "--task", &task, "--device", "cpu", &picture]);
}

#[test]
fn forward_gives_the_reference_at_the_size_of_its_input() {
    let place = Place::new();
    let (input, output) = (place.path("in.safetensors"), place.path("out.safetensors"));
    let bytes = fs::read(golden("models/dinov2/reference.safetensors")).expect("golden file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let reference = |key: &str| file.tensor(key).expect("reference");
    let pixels = safetensors::serialize([("pixel_values", reference("pixel_values.48x48"))], None);
    fs::write(&input, pixels.expect("serialises")).expect("writes");
    let model = golden("models/dinov2").display().to_string();
    succeed(&["forward", "--model", &model, "--device", "cpu", "--input", &input, "--output", &output]);
    let bytes = fs::read(&output).expect("output");
    let found = SafeTensors::deserialize(&bytes).expect("safetensors");
    for key in ["logits", "last_hidden_state"] {
        let expected = reference(&format!("{key}.48x48"));
        let found = found.tensor(key).expect(key);
        assert_eq!(found.shape(), expected.shape());
        let values = |data: &[u8]| -> Vec<f32> {
            data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect()
        };
        for (found, expected) in values(found.data()).iter().zip(values(expected.data())) {
            assert!((found - expected).abs() < 1e-4, "{key}: {found} {expected}");
        }
    }
}

#[test]
fn classify_and_compose_and_info_speak_plainly() {
    let place = Place::new();
    draw(1, 3).save(place.path("photo.png")).expect("picture");
    let (model, photo) = (tiny_model(), place.path("photo.png"));
    let text = succeed(&["classify", "--model", &model, "--device", "cpu", "--top", "2", &photo]);
    assert!(text.contains("photo.png: LABEL_") && text.matches('%').count() == 2, "{text}");
    let adapters =
        [golden("adapters/qv"), golden("adapters/qv-other")].map(|path| path.display().to_string());
    let out = place.path("mean");
    succeed(&["compose", "--adapters", &adapters[0], &adapters[1], "--out", &out]);
    let text = succeed(&["info", "--model", &model, "--modules", &adapters[0], &out]);
    assert!(text.contains("rank") && text.contains("vit"), "{text}");
    assert!(succeed(&["--help"]).contains("Examples:"));
    assert!(succeed(&["completions", "bash"]).contains("train-module"));
}

#[test]
fn a_base_model_and_a_module_trained_from_nothing_beat_chance() {
    let place = Place::new();
    write_task(&place.dir.path().join("photos"), &CLASSES, 0, 24);
    let (photos, base) = (place.path("photos"), place.path("base"));
    let pretrain = |epochs: &str| {
        succeed(&[
            "pretrain",
            "--data",
            &photos,
            "--validation",
            "8",
            "--out",
            &base,
            "--device",
            "cpu",
            "--img-size",
            "32",
            "--patch-size",
            "8",
            "--embed-dim",
            "32",
            "--depth",
            "2",
            "--num-heads",
            "2",
            "--batch-size",
            "16",
            "--learning-rate",
            "0.003",
            "--epochs",
            epochs,
        ])
    };
    let text = pretrain("30");
    assert!(text.contains("top-1"), "{text}");
    let report = json(&place.dir.path().join("base/pretraining.json"));
    let top1 = report["student"]["top1"].as_f64().expect("accuracy");
    assert!(top1 > 0.5, "chance is a third: {report}");
    let out = place.path("module");
    let (train, test) = (place.path("train"), place.path("test"));
    succeed(&[
        "train-module",
        "--model",
        &base,
        "--device",
        "cpu",
        "--data",
        &train,
        "--test",
        &test,
        "--out",
        &out,
        "--steps",
        "30",
    ]);
    let report = json(&place.dir.path().join("module/training.json"));
    let accuracy = report["module"]["test_accuracy"].as_f64().expect("accuracy");
    assert!(accuracy > 0.5, "chance is a third: {report}");
}

#[test]
fn with_one_image_per_class_nothing_chooses_a_scale() {
    let place = Place::new();
    let module = place.train_module("module", "1");
    let out = place.path("out.json");
    let methods = "uniform,uniform-scaled";
    let (code, _, err) =
        place.adapt(&["--modules", &module, "--shots", "1", "--methods", methods, "--json", &out]);
    assert_eq!(code, 0, "{err}");
    let report = json(Path::new(&out));
    assert_eq!(report["methods"][0]["coefficients"], report["methods"][1]["coefficients"]);
    assert_eq!(report["methods"][0]["coefficients"]["means"], serde_json::json!([1.0]));
}
