//! Models and modules that ship inside the binary: `www/models`, the files that the page loads, too.
//!
//! Every folder has a `manifest.json` with the size and SHA-256 of each file that is loaded; what does not agree is refused.
//! A folder may hold a base model with its modules, or only modules for a model that a person downloads.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use rust_embed::Embed;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    device::DeviceChoice,
    error::{Error, Result},
    files::last_part,
    lora::{folder, module::LoraModule},
    session::{ModelFiles, ModelOptions, Session, digest::hex},
};

/// What `--model` calls the base model that ships.
pub const EMBEDDED: &str = "embedded";

/// Folder of the base model.
const BASE: &str = "base";

/// Its weights.
const WEIGHTS: &str = "model.safetensors";

#[derive(Embed)]
#[folder = "www/models"]
#[exclude = "*.md"]
struct Files;

/// `manifest.json` of a folder.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Name of the base model.
    pub name: String,
    /// Input side in pixels that the modules of a downloaded model were trained at.
    pub img_size: Option<usize>,
    /// Files by path.
    pub files: BTreeMap<String, FileEntry>,
    /// Licence of the base model, if it is stated.
    pub license: Option<String>,
    /// Modules, in the order of the library.
    pub modules: Vec<ModuleEntry>,
    #[serde(skip)]
    folder: String,
}

/// One file.
#[derive(Clone, Debug, Deserialize)]
pub struct FileEntry {
    /// Size.
    pub bytes: usize,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// One module.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ModuleEntry {
    /// Its name and folder.
    pub name: String,
    /// What it was trained on and how well it does, in one line.
    pub card: Option<String>,
    /// Its licence, if it is stated.
    pub license: Option<String>,
}

/// The base model that ships, by [`EMBEDDED`] or by its own name.
pub fn find(model: &str) -> Option<Manifest> {
    all().into_iter().find(|own| own.folder == BASE && (model == EMBEDDED || model == own.name))
}

/// The folder with modules for a model at an input size (height, width in pixels): for the embedded model its own, for
/// any other the one with the last part of its name. Among folders for several input sizes it is the nearest: modules
/// teach a model its input size, too, and help less at another one. A folder with the embedded model's weights has its modules.
pub fn modules_for(model: &str, img_size: (usize, usize)) -> Option<Manifest> {
    let fitting = all().into_iter().filter(|own| own.folder != BASE && own.name == last_part(model));
    let distance = |own: &Manifest| own.img_size.map_or(0, |side| side.abs_diff(img_size.0.max(img_size.1)));
    let copied = || all().into_iter().find(|own| own.folder == BASE && own.is_at(Path::new(model)));
    find(model).or_else(|| fitting.min_by_key(distance)).or_else(copied)
}

/// All folders that ship.
pub fn all() -> Vec<Manifest> {
    let manifest = |path: Cow<'static, str>| {
        let folder = path.strip_suffix("/manifest.json")?.to_string();
        let manifest: Manifest = serde_json::from_slice(&Files::get(&path)?.data).ok()?;
        Some(Manifest { folder, ..manifest })
    };
    Files::iter().filter_map(manifest).collect()
}

impl Manifest {
    /// Whether the base model itself ships.
    pub fn has_model(&self) -> bool {
        self.files.contains_key(WEIGHTS)
    }

    /// Whether the weights in a folder are those of the base model; they are read only if their size is the same.
    fn is_at(&self, dir: &Path) -> bool {
        let (Some(own), path) = (self.files.get(WEIGHTS), dir.join(WEIGHTS)) else { return false };
        let same_size = fs::metadata(&path).is_ok_and(|found| found.len() == own.bytes as u64);
        same_size && fs::read(&path).is_ok_and(|bytes| hex(&Sha256::digest(bytes).into()) == own.sha256)
    }

    /// Size of all files.
    pub fn bytes(&self) -> usize {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Opens the base model.
    ///
    /// # Errors
    /// A damaged file, or no usable device.
    pub async fn open(&self, choice: DeviceChoice, options: &ModelOptions) -> Result<Session> {
        let (config, preprocessor) = (self.text("config.json")?, self.text("preprocessor_config.json")?);
        let weights = self.read(WEIGHTS)?;
        let files = ModelFiles {
            name: &self.name,
            config: &config,
            preprocessor: Some(&preprocessor),
            weights: &weights,
        };
        Session::open(choice, files, options).await
    }

    /// Reads a module.
    ///
    /// # Errors
    /// None of this name, or a damaged file.
    pub fn module(&self, name: &str) -> Result<LoraModule> {
        let config = self.text(&format!("modules/{name}/{}", folder::CONFIG))?;
        let weights = self.read(&format!("modules/{name}/{}", folder::WEIGHTS))?;
        Ok(LoraModule::from_bytes(name, &config, &weights)?.0)
    }

    fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?.into_owned())
            .map_err(|error| self.refused(path, error.to_string()))
    }

    fn read(&self, path: &str) -> Result<Cow<'static, [u8]>> {
        let entry = self.files.get(path).ok_or_else(|| self.refused(path, "it does not ship".into()))?;
        let file = Files::get(&format!("{}/{path}", self.folder))
            .ok_or_else(|| self.refused(path, "the manifest names it and it is not there".into()))?;
        let found = hex(&Sha256::digest(&file.data).into());
        if file.data.len() != entry.bytes || found != entry.sha256 {
            return Err(
                self.refused(path, "its size or SHA-256 is not the manifest's; install it again".into())
            );
        }
        Ok(file.data)
    }

    fn refused(&self, path: &str, reason: String) -> Error {
        Error::mismatch(format!("embedded {}/{path}", self.folder), reason)
    }
}
