//! One door to every parser, for the fuzz target and for the property tests.

use std::{
    io::{Cursor, Write},
    path::Path,
};

use loraloom::{
    DeviceChoice, block_on,
    checkpoint::load,
    device::OpenDevice,
    error::Result,
    image::{Picture, decode::decode, preprocess::Preprocess},
    lora::{config::PeftConfig, module::LoraModule, tensor_file::TensorFile},
    pretrain::photos::Photos,
    project::Project,
    session::{ModelFiles, ModelOptions, Session, task::TaskFile},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A parser: the name of the file that it reads, and what is done with one.
type Parser = (&'static str, fn(&[u8]) -> Result<()>);

/// Every parser; a number is an index.
pub const PARSERS: [Parser; 12] = [
    ("image", |bytes| decode("image", bytes).map(drop)),
    ("preprocessor_config.json", read_preprocessor),
    ("model.safetensors", |bytes| load_model(VIT.0, bytes)),
    ("config.json", |bytes| load_model(&text(bytes), VIT.1)),
    ("timm's config.json", |bytes| load_model(&text(bytes), TIMM)),
    ("adapter_config.json", |bytes| PeftConfig::parse("adapter_config.json", &text(bytes)).map(drop)),
    ("adapter_model.safetensors", |bytes| LoraModule::from_bytes("adapter", ADAPTER, bytes).map(drop)),
    ("any.safetensors", |bytes| on_disk(bytes, read_tensor_file)),
    ("task.json", read_task),
    ("project.zip", read_project),
    ("project.json", |bytes| read_project(&project(bytes))),
    ("photos.tar", |bytes| on_disk(bytes, |path| Photos::read(&[path.into()], 1).map(drop))),
];

/// Hands bytes to one parser; errors are welcome, panics and endless memory are not.
///
/// # Errors
/// What the parser says.
pub fn read(which: u8, bytes: &[u8]) -> Result<()> {
    let (_, parse) = PARSERS[usize::from(which) % PARSERS.len()];
    parse(bytes)
}

const VIT: (&str, &[u8]) = (
    include_str!("../golden/models/vit/config.json"),
    include_bytes!("../golden/models/vit/model.safetensors"),
);
const TIMM: &[u8] = include_bytes!("../golden/models/timm/model.safetensors");

const ADAPTER: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}"#;

/// A project with a description, in a zip of stored files as the page writes them, with two pictures and a module.
pub fn project(description: &[u8]) -> Vec<u8> {
    let files: [(&str, &[u8]); 5] = [
        ("project.json", description),
        ("pictures/tiny.png", include_bytes!("../golden/images/tiny.png")),
        ("pictures/bits.png", include_bytes!("../golden/images/bits.png")),
        ("modules/qv/adapter_config.json", include_bytes!("../golden/adapters/qv/adapter_config.json")),
        (
            "modules/qv/adapter_model.safetensors",
            include_bytes!("../golden/adapters/qv/adapter_model.safetensors"),
        ),
    ];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(name, stored).expect("a name");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("a zip").into_inner()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_preprocessor(bytes: &[u8]) -> Result<()> {
    let processor = text(bytes);
    let files = (("preprocessor_config.json", &*processor), ("config.json", "{}"));
    Preprocess::from_json(Some(files.0), files.1)?.crop(&Picture::filled(4000, 1, [0; 3])).map(drop)
}

fn load_model(config: &str, weights: &[u8]) -> Result<()> {
    let files = (("config.json", config), ("model.safetensors", weights));
    load::load(files.0, files.1, None, &OpenDevice::cpu().plain).map(drop)
}

/// Reads every tensor that a file says it has.
fn read_tensor_file(path: &Path) -> Result<()> {
    let file = TensorFile::open(path)?;
    file.shapes().try_for_each(|(key, _)| file.read(key).map(drop))
}

/// Prepares the model's input as a saved task asks for it.
fn read_task(bytes: &[u8]) -> Result<()> {
    session(&TaskFile::parse("task.json", &text(bytes))?.model_options()).map(drop)
}

fn read_project(bytes: &[u8]) -> Result<()> {
    let mut project = Project::open("project.zip", bytes.to_vec())?;
    let mut session = session(&ModelOptions::default())?;
    project.file.config.check_for(&session.model().vit.config)?;
    project.datasets(&session)?;
    project.add_modules(&mut session)
}

fn session(options: &ModelOptions) -> Result<Session> {
    let files = ModelFiles {
        name: "tiny-vit",
        config: include_str!("../golden/adapters/tiny-vit/config.json"),
        preprocessor: None,
        weights: include_bytes!("../golden/adapters/tiny-vit/model.safetensors"),
    };
    block_on(Session::open(DeviceChoice::Cpu, files, options))
}

/// Hands bytes over as a file.
fn on_disk(bytes: &[u8], read: fn(&Path) -> Result<()>) -> Result<()> {
    let name = format!("loraloom-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    let result = read(&path);
    std::fs::remove_file(&path).expect("the temporary file");
    result
}
