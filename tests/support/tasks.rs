//! Saving a task, and asking it again.

use std::path::Path;

use super::{Place, json, succeed};

/// Adapts a model by one method without modules and saves it; the report.
pub fn adapt(place: &Place, model: &str, method: &str, task: &str) -> serde_json::Value {
    compose(place, model, method, &["none"], task)
}

/// Adapts a model by one method and saves it; the report.
pub fn compose(place: &Place, model: &str, method: &str, modules: &[&str], task: &str) -> serde_json::Value {
    save(place, model, method, &[&["--save", task, "--modules"], modules].concat())
}

/// Adapts a model by one method and saves it as it is asked; the report.
pub fn save(place: &Place, model: &str, method: &str, how: &[&str]) -> serde_json::Value {
    let (train, test, out) = (place.path("train"), place.path("test"), place.path("out.json"));
    let folders = ["--train", &train, "--test", &test, "--json", &out];
    let steps = ["--device", "cpu", "--steps", "2", "--folds", "0", "--methods", method];
    succeed(&[&["adapt", "--model", model], &folders[..], &steps[..], how].concat());
    json(Path::new(&out))
}

/// Largest difference between the probabilities that were measured and those that are predicted.
pub fn difference(place: &Place, report: &serde_json::Value, task: &str) -> f64 {
    let answers = report["methods"][0]["answers"].as_array().expect("answers").clone();
    let out = place.path("predictions.json");
    let images: Vec<&str> = answers.iter().map(|answer| answer["image"].as_str().expect("a name")).collect();
    let predict = ["predict", "--task", task, "--device", "cpu", "--top", "3", "--json", &out];
    succeed(&[&predict[..], &images[..]].concat());
    let found = json(Path::new(&out));
    let mut largest = 0.0f64;
    for (answer, prediction) in answers.iter().zip(found.as_array().expect("predictions")) {
        for class in prediction["top"].as_array().expect("classes") {
            let index = class["index"].as_u64().expect("an index") as usize;
            let pair = [&answer["probabilities"][index], &class["probability"]];
            let [measured, predicted] = pair.map(|value| value.as_f64().expect("a number"));
            largest = largest.max((measured - predicted).abs());
        }
    }
    largest
}
