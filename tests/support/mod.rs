//! What several tests need: drawn pictures in class folders, and the command line as a person runs it.
#![allow(dead_code, reason = "every test uses its own part")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use image::{Rgb, RgbImage};

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
