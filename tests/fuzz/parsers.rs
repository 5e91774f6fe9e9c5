//! One door to every parser, for the fuzz target and for the property tests.

use loraloom::{
    checkpoint::load,
    device::OpenDevice,
    image::{Picture, decode::decode, preprocess::Preprocess},
    lora::{config::PeftConfig, module::LoraModule, tensor_file::TensorFile},
};

/// Number of parsers behind [`read`].
pub const COUNT: u8 = 6;

/// Hands bytes to one parser; errors are welcome, panics and endless memory are not.
pub fn read(which: u8, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match which % COUNT {
        0 => drop(decode("image", bytes)),
        1 => {
            let config = ("config.json", "{}");
            if let Ok(preprocess) = Preprocess::from_json(Some(("preprocessor_config.json", &text)), config) {
                drop(preprocess.crop(&Picture::filled(4000, 1, [0; 3])));
            }
        }
        2 => {
            let config = include_str!("../golden/models/vit/config.json");
            drop(load::load(
                ("config.json", config),
                ("model.safetensors", bytes),
                None,
                &OpenDevice::cpu().plain,
            ));
        }
        3 => {
            let weights = include_bytes!("../golden/models/vit/model.safetensors");
            drop(load::load(
                ("config.json", &text),
                ("model.safetensors", weights),
                None,
                &OpenDevice::cpu().plain,
            ));
        }
        4 => {
            drop(PeftConfig::parse("adapter_config.json", &text));
            let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}"#;
            drop(LoraModule::from_bytes("adapter", config, bytes));
        }
        _ => read_tensor_file(bytes),
    }
}

/// Opens a file on disk and reads every tensor that it says it has.
fn read_tensor_file(bytes: &[u8]) {
    let name = format!("loraloom-{}-{:?}.safetensors", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    if let Ok(file) = TensorFile::open(&path) {
        let keys: Vec<String> = file.shapes().map(|(key, _)| key.to_string()).collect();
        keys.iter().for_each(|key| drop(file.read(key)));
    }
    std::fs::remove_file(&path).expect("the temporary file");
}
