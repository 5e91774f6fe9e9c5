//! A zip that the page saved, read file by file.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use crate::error::{Error, Result};

/// Largest single file, in bytes: a zip can claim any size.
const MAX_FILE: u64 = 2 << 30;

pub(super) struct Archive {
    name: String,
    zip: ZipArchive<Cursor<Vec<u8>>>,
}

impl Archive {
    /// Opens a zip from its bytes; `name` is for messages, and `asked` says what to ask of somebody who gives something else.
    pub(super) fn open(name: &str, bytes: Vec<u8>, asked: &str) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes));
        let zip = zip.map_err(|error| Error::config(name, "-", format!("{error}; {asked}")))?;
        Ok(Self { name: name.into(), zip })
    }

    /// The folders in which a file of a name is, each with its slash; what macOS puts beside files is none.
    pub(super) fn folders_with(&self, file: &str) -> Vec<String> {
        let paths = self.zip.file_names().flatten();
        let folders = paths.filter_map(|path| path.strip_suffix(file).map(String::from));
        let is_folder = |folder: &String| folder.is_empty() || folder.ends_with('/');
        folders.filter(is_folder).filter(|folder| !folder.starts_with("__MACOSX/")).collect()
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.zip.index_for_name(path).is_some()
    }

    pub(super) fn bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        let place = format!("{}/{path}", self.name);
        let bad = |reason: String| Error::config(&place, "-", reason);
        let file = self.zip.by_name(path).map_err(|error| bad(error.to_string()))?;
        if file.size() > MAX_FILE {
            return Err(bad(format!("{} bytes; at most {MAX_FILE} are read", file.size())));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
        Ok(bytes)
    }

    pub(super) fn text(&mut self, path: &str) -> Result<String> {
        let place = format!("{}/{path}", self.name);
        String::from_utf8(self.bytes(path)?).map_err(|_| Error::config(&place, "-", "it is not UTF-8"))
    }
}
