//! The folder of an adapter: `adapter_config.json` beside `adapter_model.safetensors`.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    files::{Created, PartialFile, other_formats::refusal},
};

/// Name of the configuration.
pub const CONFIG: &str = "adapter_config.json";
/// Name of the weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// Both, in the order in which they are read.
pub const FILES: [&str; 2] = [CONFIG, WEIGHTS];

/// Largest configuration that is read, in bytes; real ones have a few thousand.
const MAX_CONFIG: u64 = 10_000_000;

/// Reads the configuration of an adapter and finds its weights.
///
/// # Errors
/// A missing or unreadable file; weights in a pickle, or a folder of adapters, with what to do.
pub fn open(dir: &Path) -> Result<(String, PathBuf)> {
    let (config, weights) = (dir.join(CONFIG), dir.join(WEIGHTS));
    check_single(dir)?;
    check_formats(dir)?;
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
    Ok((json, weights))
}

/// Refuses a folder that holds something else in place of a file.
fn check_formats(dir: &Path) -> Result<()> {
    let is_there = |file: &str| dir.join(file).exists();
    let missing = FILES.iter().filter(|file| !is_there(file));
    let refused = missing.filter_map(|file| refusal(&dir.display().to_string(), file, is_there)).next();
    refused.map_or(Ok(()), Err)
}

/// Refuses a folder of adapters where one is wanted.
fn check_single(dir: &Path) -> Result<()> {
    let is_adapter = |dir: &Path| dir.join(CONFIG).exists();
    let inside = || fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| is_adapter(&entry.path()));
    if is_adapter(dir) || !inside() {
        return Ok(());
    }
    let dir = dir.display().to_string();
    Err(Error::mismatch(&dir, format!("a folder of modules; name what is in it: {dir}/*")))
}

/// Writes an adapter so that a reader never sees half of a file: both are written beside their
/// place, then renamed, one after the other. Links, of the folder and of the files, are followed and stay.
///
/// `tensors` writes the weights; the path is for its messages.
///
/// # Errors
/// The folder cannot be created or written, and whatever `tensors` reports.
pub fn write<T>(
    dir: &Path,
    config: &str,
    tensors: impl FnOnce(&mut BufWriter<PartialFile>, &Path) -> Result<T>,
) -> Result<T> {
    let mut created = Created::new(dir)?;
    let (weights, config_path) = (dir.join(WEIGHTS), dir.join(CONFIG));
    let mut output = BufWriter::new(PartialFile::create(&weights)?);
    let result = tensors(&mut output, &weights)?;
    let output = output.into_inner().map_err(|error| Error::io("write", &weights, error.into_error()))?;
    let mut config_file = PartialFile::create(&config_path)?;
    config_file.write_all(config.as_bytes()).map_err(|source| Error::io("write", &config_path, source))?;
    output.finish()?;
    config_file.finish()?;
    created.keep();
    Ok(result)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{io, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        let save = |text: &str| {
            write(&at("link"), text, |output, _| {
                output.write_all(text.as_bytes()).map_err(|error| Error::io("write", &at("link"), error))
            })
        };
        symlink("folder", at("link")).expect("a link to a folder that is not there yet");
        let failed = write(&at("link"), "", |_, path| {
            Err::<(), _>(Error::io("write", path, io::Error::other("full")))
        });
        assert!(failed.is_err() && !at("folder").exists(), "an empty folder goes again");
        save("one").expect("writes");
        fs::create_dir(at("elsewhere")).expect("a folder");
        fs::rename(at("folder").join(WEIGHTS), at("elsewhere/weights")).expect("moves");
        symlink("../elsewhere/weights", at("folder").join(WEIGHTS)).expect("a link to the weights");
        save("two").expect("writes");
        let is_link = |path: PathBuf| fs::symlink_metadata(path).expect("there").is_symlink();
        assert!(is_link(at("link")) && is_link(at("folder").join(WEIGHTS)));
        for file in [at("elsewhere/weights"), at("folder").join(CONFIG)] {
            assert_eq!(fs::read_to_string(file).expect("a file"), "two");
        }
        assert_eq!(fs::read_dir(at("folder")).expect("a folder").count(), 2, "no temporary file");
    }
}
