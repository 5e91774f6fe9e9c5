//! Decoding and preprocessing against Pillow, torchvision and transformers (`golden/make_images.py`).

use std::{collections::BTreeMap, fs, path::PathBuf};

use loraloom::image::{Picture, decode::decode, preprocess::Preprocess};
use safetensors::SafeTensors;

const CONFIG: (&str, &str) = ("config.json", r#"{"model_type": "vit", "image_size": 32}"#);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images")
}

fn read(file: &str) -> Vec<u8> {
    fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn picture(file: &str) -> Picture {
    decode(file, &read(file)).expect(file)
}

fn expected(tensors: &SafeTensors, key: &str) -> Picture {
    let view = tensors.tensor(key).expect(key);
    Picture { width: view.shape()[1], height: view.shape()[0], rgb: view.data().to_vec() }
}

/// Largest and mean difference in grey levels.
fn difference(found: &Picture, expected: &Picture, what: &str) -> (u8, f64) {
    assert_eq!((found.width, found.height), (expected.width, expected.height), "{what}");
    let levels: Vec<u8> = found.rgb.iter().zip(&expected.rgb).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = levels.iter().map(|level| f64::from(*level)).sum::<f64>() / levels.len() as f64;
    (levels.into_iter().max().unwrap_or_default(), mean)
}

#[test]
fn every_kind_of_file_decodes_as_in_pillow() {
    let bytes = read("expected.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let names: Vec<String> =
        tensors.names().iter().filter_map(|name| name.strip_prefix("decoded/")).map(String::from).collect();
    assert!(names.len() >= 32, "{names:?}");
    for name in names {
        let (largest, mean) =
            difference(&picture(&name), &expected(&tensors, &format!("decoded/{name}")), &name);
        assert_eq!((largest, mean), (0, 0.0), "{name}");
    }
}

#[test]
fn every_preprocessor_resizes_as_transformers_and_crops_as_torchvision() {
    let bytes = read("expected.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let text = String::from_utf8(read("preprocessors.json")).expect("UTF-8");
    let preprocessors: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    for (name, settings) in preprocessors {
        let settings = settings.to_string();
        let preprocess =
            Preprocess::from_json(Some(("preprocessor_config.json", &settings)), CONFIG).expect(&name);
        for file in ["photo.png", "tall.png", "wide.png", "tiny.png"] {
            let crop = preprocess.crop(&picture(file)).expect(&name);
            let (largest, mean) =
                difference(&crop, &expected(&tensors, &format!("{name}/{file}")), &format!("{name} {file}"));
            assert!(largest <= 1 && mean <= 0.1, "{name} {file}: {largest} levels, mean {mean}");
        }
        let again =
            Preprocess::from_json(Some(("again", &preprocess.to_json().to_string())), CONFIG).expect(&name);
        assert_eq!(
            again.crop(&picture("photo.png")).expect(&name),
            preprocess.crop(&picture("photo.png")).expect(&name)
        );
        compare_values(&preprocess, &tensors, &name);
    }
}

fn compare_values(preprocess: &Preprocess, tensors: &SafeTensors, name: &str) {
    let crop = expected(tensors, &format!("{name}/photo.png"));
    let mut values = vec![0.0; crop.rgb.len()];
    preprocess.normalize(&crop, &mut values);
    let view = tensors.tensor(&format!("values/{name}")).expect(name);
    let wanted =
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
    for (found, wanted) in values.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-5, "{name}: {found} {wanted}");
    }
}

#[test]
fn defaults_follow_the_architecture() {
    let of = |config: &str| Preprocess::from_json(None, ("config.json", config)).expect(config);
    let vit = of(r#"{"model_type": "vit", "image_size": 48}"#);
    assert_eq!((vit.input_size(), vit.mean()), ((48, 48), [0.5; 3]));
    assert_eq!(of(r#"{"model_type": "dinov2", "image_size": 518}"#).input_size(), (224, 224));
    let timm =
        of(r#"{"architecture": "vit_tiny", "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 0.9,
        "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}"#);
    assert_eq!((timm.input_size(), timm.mean()), ((32, 32), [0.1, 0.2, 0.3]));
    let wrapper = r#"{"image_processor_type": "TimmWrapperImageProcessor"}"#;
    let config = r#"{"pretrained_cfg": {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3]}}"#;
    let wrapped = Preprocess::from_json(Some(("p.json", wrapper)), ("config.json", config)).expect("timm's");
    assert_eq!((wrapped.input_size(), wrapped.mean()), ((48, 48), [0.1, 0.2, 0.3]));
}

#[test]
fn a_bad_preprocessor_is_refused_with_its_field() {
    for (text, part) in [
        ("[]", "not a JSON object"),
        (r#"{"size": "big"}"#, "`size`"),
        (r#"{"size": {"shortest_edge": 9, "longest_edge": 12}}"#, "do_center_crop"),
        (r#"{"size": {"longest_edge": 12}}"#, "transformers takes nothing else"),
        (
            r#"{"image_processor_type": "BitImageProcessor", "crop_size": {"shortest_edge": 12}}"#,
            "`crop_size`",
        ),
        (r#"{"image_processor_type": "TimmWrapperImageProcessor"}"#, "pretrained_cfg"),
        (r#"{"size": 1000000}"#, "8192"),
        (r#"{"resample": 17}"#, "`resample`"),
        (r#"{"image_mean": [0.5]}"#, "`image_mean`"),
        (r#"{"image_std": [0, 0, 0]}"#, "`image_std`"),
        (r#"{"image_std": [1e-45, 1, 1]}"#, "`image_std`"),
        (r#"{"rescale_factor": 0}"#, "`rescale_factor`"),
        (r#"{"rescale_factor": -1}"#, "`rescale_factor`"),
        (r#"{"rescale_factor": 1e-50, "do_normalize": false}"#, "`rescale_factor`"),
        (r#"{"do_resize": 1}"#, "`do_resize`"),
        (r#"{"image_processor_type": "ConvNextImageProcessor"}"#, "ConvNext"),
        (r#"{"image_processor_type": 5}"#, "`image_processor_type`"),
        (r#"{"do_grayscale": true}"#, "`do_grayscale`"),
        (r#"{"do_flip_channel_order": true}"#, "`do_flip_channel_order`"),
        (r#"{"do_pad": true}"#, "`do_pad`"),
        (r#"{"offset": true}"#, "`offset`"),
        (r#"{"size_divisor": 32}"#, "`size_divisor`"),
        (r#"{"crop_pct": 0.9}"#, "`crop_pct`"),
        (r#"{"size": {"shortest_edge": 30}}"#, "do_center_crop"),
    ] {
        let error = Preprocess::from_json(Some(("p.json", text)), CONFIG).expect_err(text).to_string();
        assert!(error.starts_with("p.json") && error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_picture_that_would_grow_beyond_memory_is_refused() {
    let preprocess = Preprocess::from_json(
        Some((
            "preprocessor_config.json",
            r#"{"size": {"shortest_edge": 40}, "crop_size": 32, "do_center_crop": true}"#,
        )),
        CONFIG,
    )
    .expect("a processor");
    let error = preprocess.crop(&Picture::filled(1_000_000, 1, [9; 3])).expect_err("too long and thin");
    assert!(error.to_string().contains("1000000x1 is too long and thin"), "{error}");
    assert!(preprocess.crop(&Picture::filled(1_000, 1, [9; 3])).is_ok());
}

#[test]
fn a_factor_that_is_not_used_may_be_anything() {
    let unused = r#"{"do_rescale": false, "rescale_factor": 0}"#;
    let preprocess = Preprocess::from_json(Some(("p.json", unused)), CONFIG).expect("not rescaled");
    let mut values = [0.0; 3];
    preprocess.normalize(&Picture::filled(1, 1, [3, 4, 5]), &mut values);
    assert_eq!(values, [5.0, 7.0, 9.0], "less 0.5, by 0.5");
}

/// What the classes of transformers write, with everything that is off spelled out.
#[test]
fn what_is_off_is_accepted() {
    let fast = r#""crop_size": null, "data_format": "channels_first", "default_to_square": true, "device": null,
        "disable_grouping": null, "do_center_crop": null, "do_convert_rgb": null, "do_normalize": true, "do_pad": null,
        "do_rescale": true, "do_resize": true, "do_grayscale": false, "do_flip_channel_order": false, "offset": false,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "input_data_format": null, "pad_size": {"height": 9, "width": 9},
        "resample": 2, "rescale_factor": 0.00392156862745098, "return_tensors": null, "size_divisor": null,
        "crop_pct": null, "size": {"height": 32, "width": 32}"#;
    for class in
        ["ViTImageProcessor", "ViTImageProcessorFast", "DeiTImageProcessorFast", "BitImageProcessorFast"]
    {
        let crop =
            if class.starts_with("ViT") { "" } else { r#", "crop_size": {"height": 32, "width": 32}"# };
        let text = format!(r#"{{"image_processor_type": "{class}", {fast}{crop}}}"#);
        let text = if crop.is_empty() { text } else { text.replacen(r#""crop_size": null, "#, "", 1) };
        let text = if crop.is_empty() {
            text
        } else {
            text.replacen(r#""do_center_crop": null"#, r#""do_center_crop": true"#, 1)
        };
        let preprocess = Preprocess::from_json(Some(("p.json", &text)), CONFIG).expect(class);
        assert_eq!(preprocess.input_size(), (32, 32), "{class}");
    }
}
