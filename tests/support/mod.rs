//! What several tests need: drawn pictures in class folders, and the command line as a person runs it.
#![allow(dead_code, reason = "every test uses its own part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use image::{Rgb, RgbImage};

pub mod adapters;
pub mod tasks;

/// A file of the golden folder.
pub fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// A tiny model that transformers wrote.
pub fn tiny_model() -> String {
    golden("models/vit").display().to_string()
}

/// Pictures of three kinds of stripes: easy to tell apart, different from picture to picture.
pub fn draw(class: usize, index: usize) -> RgbImage {
    let period = 5 + (index * 7 % 4) as u32;
    let tint = (index * 37 % 90) as u8;
    RgbImage::from_fn(40, 36, |x, y| {
        let position = [x, y, x + y][class % 3] + index as u32;
        let light = if position % (2 * period) < period { 220 } else { 30 };
        Rgb([light, light.saturating_sub(tint), tint + (class * 20) as u8])
    })
}

/// Writes `count` pictures per class into class folders.
pub fn write_task(dir: &Path, classes: &[&str], first: usize, count: usize) {
    for (class, name) in classes.iter().enumerate() {
        let folder = dir.join(name);
        fs::create_dir_all(&folder).expect("folder");
        for index in first..first + count {
            draw(class, index).save(folder.join(format!("{index:03}.png"))).expect("picture");
        }
    }
}

/// Runs the command line.
pub fn loraloom(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loraloom"))
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .expect("the binary runs")
}

/// Exit code, stdout, stderr.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = loraloom(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!err.contains("panicked"), "a panic reached the person: {err}");
    (output.status.code().expect("not killed"), out, err)
}

/// Runs it, wants success, gives stdout.
pub fn succeed(arguments: &[&str]) -> String {
    let (code, out, err) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}\n{out}\n{err}");
    out
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).expect("file")).expect("JSON")
}

/// The classes of [`Place`].
pub const CLASSES: [&str; 3] = ["across", "diagonal", "down"];

/// A folder with a task of four training and three test images per class.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        write_task(&dir.path().join("train"), &CLASSES, 0, 4);
        write_task(&dir.path().join("test"), &CLASSES, 10, 3);
        Self { dir }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A copy of the tiny model without its preprocessing.
    pub fn own_model(&self, name: &str) -> String {
        let model = self.path(name);
        fs::create_dir(&model).expect("folder");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(golden("models/vit").join(file), format!("{model}/{file}")).expect("copies");
        }
        model
    }

    pub fn train_module(&self, name: &str, seed: &str) -> String {
        self.train_module_of_rank("2", name, seed)
    }

    pub fn train_module_of_rank(&self, rank: &str, name: &str, seed: &str) -> String {
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

    pub fn adapt(&self, extra: &[&str]) -> (i32, String, String) {
        let (model, train, test) = (tiny_model(), self.path("train"), self.path("test"));
        let mut arguments =
            vec!["adapt", "--model", &model, "--device", "cpu", "--train", &train, "--test", &test];
        arguments.extend_from_slice(&["--steps", "4", "--folds", "2"]);
        arguments.extend_from_slice(extra);
        run(&arguments)
    }
}
