//! The folder of an adapter: `adapter_config.json` beside `adapter_model.safetensors`.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// Name of the configuration.
pub const CONFIG: &str = "adapter_config.json";
/// Name of the weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";

/// Largest configuration that is read, in bytes; real ones have a few thousand.
const MAX_CONFIG: u64 = 10_000_000;

/// Reads the configuration of an adapter and finds its weights.
///
/// # Errors
/// A missing or unreadable file; weights in a pickle, with what to do.
pub fn open(dir: &Path) -> Result<(String, PathBuf)> {
    let (config, weights) = (dir.join(CONFIG), dir.join(WEIGHTS));
    let io = |source| Error::io("read", &config, source);
    let mut json = String::new();
    let length =
        File::open(&config).map_err(io)?.take(MAX_CONFIG + 1).read_to_string(&mut json).map_err(io)?;
    if length as u64 > MAX_CONFIG {
        return Err(Error::config(
            &config.display().to_string(),
            "-",
            format!("larger than {MAX_CONFIG} bytes"),
        ));
    }
    if !weights.exists() && dir.join(PICKLE).exists() {
        return Err(Error::Unsupported {
            name: dir.display().to_string(),
            option: PICKLE.into(),
            reason: "loading a pickle can run any code; load it in Python PEFT and save_pretrained again"
                .into(),
        });
    }
    Ok((json, weights))
}

/// Writes an adapter so that a reader never sees half of it: both files are written beside their
/// place, then renamed.
///
/// `tensors` writes the weights; the path is for its messages.
///
/// # Errors
/// The folder cannot be created or written, and whatever `tensors` reports.
pub fn write<T>(
    dir: &Path,
    config: &str,
    tensors: impl FnOnce(&mut BufWriter<File>, &Path) -> Result<T>,
) -> Result<T> {
    let mut created = Created::new(dir)?;
    let partial = Partial(dir.join(format!(".partial-{}", std::process::id())));
    fs::create_dir_all(&partial.0).map_err(|source| Error::io("create", &partial.0, source))?;
    let weights = dir.join(WEIGHTS);
    let io = |source| Error::io("write", &weights, source);
    let mut output = BufWriter::new(File::create(partial.0.join(WEIGHTS)).map_err(io)?);
    let result = tensors(&mut output, &weights)?;
    output.flush().and_then(|()| output.get_ref().sync_all()).map_err(io)?;
    fs::write(partial.0.join(CONFIG), config)
        .map_err(|source| Error::io("write", &dir.join(CONFIG), source))?;
    for file in [WEIGHTS, CONFIG] {
        let path = dir.join(file);
        fs::rename(partial.0.join(file), &path).map_err(|source| Error::io("write", &path, source))?;
    }
    created.keep();
    Ok(result)
}

/// Folders that were not there before, the deepest first; the empty ones go again unless they are kept.
struct Created(Vec<PathBuf>);

impl Created {
    fn new(dir: &Path) -> Result<Self> {
        let absent = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let absent: Vec<PathBuf> = absent.map(Path::to_path_buf).collect();
        fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        Ok(Self(absent))
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for dir in &self.0 {
            // Another process may have put something into it by now, and then it stays.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A folder for files that are not whole yet, removed with what is left in it.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and the folder's name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}
