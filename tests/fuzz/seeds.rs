//! Files that are valid for some parser: what the changes of the property tests and of the fuzzer begin with.

use std::{fs, path::PathBuf};

use loraloom::{
    Cropping, Filter, Method,
    project::{ProjectClass, ProjectFile},
    report::Measured,
    session::{config::AdaptConfig, task::TaskFile},
};

use super::parsers;

/// Golden files by the parser that reads them.
const GOLDEN: [(&str, &str); 19] = [
    ("image", "images/photo.jpg"),
    ("image", "images/progressive.jpg"),
    ("image", "images/cmyk.jpg"),
    ("image", "images/exif-6.jpg"),
    ("image", "images/photo.png"),
    ("image", "images/palette.png"),
    ("image", "images/grey16.png"),
    ("image", "images/rgba16.png"),
    ("image", "images/lossless.webp"),
    ("image", "images/palette.gif"),
    ("image", "images/photo.bmp"),
    ("image", "images/photo.tif"),
    ("model.safetensors", "models/vit/model.safetensors"),
    ("config.json", "models/vit/config.json"),
    ("timm's config.json", "models/timm/config.json"),
    ("adapter_config.json", "adapters/qv/adapter_config.json"),
    ("adapter_config.json", "adapters/patterns/adapter_config.json"),
    ("adapter_model.safetensors", "adapters/qv/adapter_model.safetensors"),
    ("any.safetensors", "adapters/qv/adapter_model.safetensors"),
];

/// Seeds: the parser's number, and a file that it reads.
pub fn all() -> Vec<(u8, Vec<u8>)> {
    let processor = r#"{"do_resize": true, "size": {"shortest_edge": 36}, "resample": 3, "do_center_crop": true,
        "crop_size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    let project = project();
    let made = [
        ("preprocessor_config.json", processor.into()),
        ("task.json", task()),
        ("project.zip", parsers::project(&project)),
        ("project.json", project),
        ("photos.tar", tar()),
    ];
    let golden = GOLDEN.map(|(parser, path)| (parser, golden(path)));
    let named = |name: &str| parsers::PARSERS.iter().position(|(own, _)| *own == name);
    let number = |name: &str| named(name).unwrap_or_else(|| panic!("no parser reads {name}")) as u8;
    golden.into_iter().chain(made).map(|(parser, bytes)| (number(parser), bytes)).collect()
}

fn golden(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

fn task() -> Vec<u8> {
    json(&TaskFile {
        multi_crop: true,
        merged: false,
        format: 1,
        model: "tiny-vit".into(),
        model_sha256: Some("00ff".into()),
        method: Method::Uniform,
        classes: vec!["across".into(), "down".into()],
        img_size: Some(8),
        mean: [0.5; 3],
        std: [0.5; 3],
        filter: Some(Filter::Bicubic),
        cropping: Some(Cropping::Share(0.9)),
        measured: Some(Measured {
            train_images: 6,
            test_accuracy: Some(0.75),
            test_interval: Some([0.25, 1.0]),
            held_out_accuracy: None,
            held_out_interval: None,
            held_out_folds: 0,
            trainable_parameters: 18,
            steps: 0,
            seconds: 0.5,
        }),
    })
}

fn project() -> Vec<u8> {
    let class = |name: &str| ProjectClass {
        name: name.into(),
        train: vec!["pictures/tiny.png".into()],
        test: vec!["pictures/bits.png".into()],
    };
    json(&ProjectFile {
        format: 1,
        model: "tiny-vit".into(),
        img_size: Some(32),
        config: AdaptConfig::default(),
        methods: vec![Method::NearestMean, Method::Learned],
        classes: vec![class("across"), class("down")],
        modules: vec!["qv".into()],
        results: Vec::new(),
    })
}

fn tar() -> Vec<u8> {
    // What is kept for validation is not learned from.
    let [learned, held_out] = ["images/tiny.png", "images/bits.png"].map(golden);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, picture) in [
        ("across/1.png", &learned),
        ("across/2.png", &held_out),
        ("down/1.png", &learned),
        ("down/2.png", &held_out),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(picture.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, &picture[..]).expect("memory");
    }
    archive.into_inner().expect("memory")
}
