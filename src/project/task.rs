//! Saved tasks as the page hands them out: the files of a folder that [`Session::save_task`] writes, in a zip.

use std::path::Path;

use super::archive::Archive;
use crate::{
    device::DeviceChoice,
    error::{Error, Result},
    lora::{folder, module::LoraModule},
    session::{
        ModelFiles, ModelOptions, Session,
        files::read_bytes,
        place::{MODEL_FILES, TASK},
        task::{ASKED, TaskFile},
    },
};

/// A saved task in a zip.
pub struct ZippedTask {
    name: String,
    archive: Archive,
    folder: String,
}

impl ZippedTask {
    /// Opens the zip, and what it says of itself.
    ///
    /// # Errors
    /// It cannot be read, is no zip, or holds no saved task or several.
    pub fn open(path: &Path) -> Result<(TaskFile, Self)> {
        let name = path.display().to_string();
        let mut archive = Archive::open(&name, read_bytes(path)?, ASKED)?;
        let folder = match &archive.folders_with(TASK)[..] {
            [folder] => folder.clone(),
            [] => return Err(Error::config(&name, "-", format!("no {TASK} in it; {ASKED}"))),
            several => {
                let reason =
                    format!("{} of {TASK} in it; unpack it and name one of its folders", several.len());
                return Err(Error::config(&name, "-", reason));
            }
        };
        let text = archive.text(&format!("{folder}{TASK}"))?;
        let task = TaskFile::parse(&format!("{name}/{folder}{TASK}"), &text)?;
        Ok((task, Self { name, archive, folder }))
    }

    /// The whole model that was saved, on a device.
    ///
    /// # Errors
    /// As [`Session::open`], or a file of it is missing.
    pub async fn open_model(&mut self, choice: DeviceChoice, options: &ModelOptions) -> Result<Session> {
        let [weights, preprocessor, config] = MODEL_FILES.map(|file| format!("{}{file}", self.folder));
        let preprocessor =
            self.archive.has(&preprocessor).then(|| self.archive.text(&preprocessor)).transpose()?;
        let (config, weights) = (self.archive.text(&config)?, self.archive.bytes(&weights)?);
        let files = ModelFiles {
            name: &self.name,
            config: &config,
            preprocessor: preprocessor.as_deref(),
            weights: &weights,
        };
        Session::open(choice, files, options).await
    }

    /// Loads the adapter into a session of its model: warnings as [`Session::load_task`].
    ///
    /// # Errors
    /// As [`Session::load_task`], or a file of it is missing.
    pub async fn load_into(&mut self, session: &mut Session, task: &TaskFile) -> Result<Vec<Error>> {
        let [config, weights] =
            [folder::CONFIG, folder::WEIGHTS].map(|file| format!("{}{file}", self.folder));
        let (config, weights) = (self.archive.text(&config)?, self.archive.bytes(&weights)?);
        let adapter = LoraModule::from_bytes(task.method.name(), &config, &weights)?;
        session.load_adapter(&self.name, adapter, task).await
    }
}
