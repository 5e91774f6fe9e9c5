//! Which images results are of: a folder of results belongs to one set of them per task.

use std::{fs, path::Path};

use super::results::Run;
use crate::{
    dataset::Listing,
    error::{Error, Result},
    files::{create_folder, write_atomic},
    session::{
        digest::{Digest, hex, sha256},
        files::read_text,
    },
};

/// Folder, beside the results, of one file per task.
const FOLDER: &str = "images";

/// Refuses a task whose images are not those that the results beside it are of, and notes which they are where that is not known, or no results
/// are there.
///
/// # Errors
/// The task, by name and by folder; or a folder that cannot be read or written.
pub fn claim(out: &Path, name: &str, task: &Path, runs: &[Run]) -> Result<()> {
    let path = out.join(FOLDER).join(format!("{name}.sha256"));
    let own = hex(&digest(task)?);
    let known = path.exists().then(|| read_text(&path)).transpose()?;
    let same = known.as_ref().map(|known| known.trim() == own);
    match same {
        Some(true) => Ok(()),
        Some(false) if runs.iter().any(|run| run.task == name) => {
            let reason = format!(
                "its images are not those that the results in {} are of; use another --out, or rename the task's folder",
                out.display()
            );
            Err(Error::Dataset { name: task.display().to_string(), reason })
        }
        _ => {
            create_folder(&out.join(FOLDER))?;
            write_atomic(&path, format!("{own}\n").as_bytes())
        }
    }
}

/// The hash of the images' names, classes and sizes in bytes: what is in them is not read.
fn digest(task: &Path) -> Result<Digest> {
    let mut parts = Vec::new();
    for part in ["train", "test"] {
        let (listing, _) = Listing::from_folder(&task.join(part))?;
        for (file, class) in &listing.files {
            let size = fs::metadata(file).map_err(|error| Error::io("read", file, error))?.len();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            parts.push(format!("{part} {:?} {name:?} {size}", listing.classes[*class]).into_bytes());
        }
    }
    Ok(sha256(parts.iter().map(Vec::as_slice)))
}
