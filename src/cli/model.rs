//! From `--model` to a session: a folder, or a Hugging Face id that is downloaded and cached.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use loraloom::{
    Cropping, block_on,
    error::{Error, Result},
    files::check_folder,
    hub::{Hub, Progress, is_repo_id},
    session::{ModelOptions, Session},
    shipped,
};

use super::{
    args::{DeviceName, InputArgs, ModelArgs, leaves_choice},
    output,
};

/// Opens the model that the arguments name.
///
/// # Errors
/// It cannot be found, downloaded or loaded.
pub fn open(arguments: &ModelArgs, device: DeviceName) -> Result<Session> {
    open_named(&arguments.model, &options(&arguments.input)?, device)
}

/// Opens a model by name.
///
/// # Errors
/// As [`open`].
pub fn open_named(model: &str, options: &ModelOptions, device: DeviceName) -> Result<Session> {
    // A folder of results may have the name, too; one's own checkpoint comes first.
    let own = Path::new(model).join("config.json").exists();
    if !own && let Some(manifest) = shipped::find(model) {
        return block_on(manifest.open(device.into(), options));
    }
    let dir = model_dir(model)?;
    block_on(Session::open_dir(device.into(), model, &dir, options))
}

/// The folder of a model, downloaded if need be.
///
/// # Errors
/// Neither a folder nor something that the Hub has.
pub fn model_dir(model: &str) -> Result<PathBuf> {
    fetch(model, |hub, model, progress| hub.model(model, progress))
}

/// The folder of an adapter, downloaded if need be.
///
/// # Errors
/// As [`model_dir`].
pub fn adapter_dir(path: &Path) -> Result<PathBuf> {
    match path.to_str() {
        Some(text) => fetch(text, |hub, adapter, progress| hub.adapter(adapter, progress)),
        None => Ok(path.to_path_buf()),
    }
}

/// What became of the modules that were asked for.
#[derive(Default)]
pub struct Added {
    /// What looks wrong; it was printed.
    pub warnings: Vec<Error>,
    /// Whether one was left out because it cannot be used, or does nothing.
    pub incomplete: bool,
}

/// Adds the modules that a person names to the library, or those that ship for the model if none are named (`none`:
/// no modules). A bad module is a warning and the rest goes on.
///
/// # Errors
/// None of the named modules can be used, or `none` is named beside others.
pub fn add_modules(session: &mut Session, named: &[PathBuf]) -> Result<Added> {
    let is_none = |path: &PathBuf| path.as_os_str() == "none";
    match named {
        [] => return add_shipped(session),
        [only] if is_none(only) => return Ok(Added::default()),
        several if several.iter().any(is_none) => {
            let reason =
                "`none` cannot stand beside others; leave it out, or write ./none for a folder of that name";
            return Err(Error::mismatch("--modules", reason));
        }
        _ => {}
    }
    let (mut added, mut folders) = (Added::default(), BTreeMap::new());
    for path in named {
        match add_once(session, path, &mut folders) {
            Ok(found) => added.warnings.extend(found),
            Err(error) => {
                added.warnings.push(error);
                added.incomplete = true;
            }
        }
    }
    let idle = session.remove_idle_modules()?;
    added.incomplete |= !idle.is_empty();
    added.warnings.extend(idle);
    added.warnings.iter().for_each(output::warning);
    if session.module_names().is_empty() {
        return Err(Error::mismatch("--modules", "none of them can be used"));
    }
    Ok(added)
}

/// Adds the module of a folder, or warns where another path has led to the folder: in a mean it would count twice.
fn add_once<'a>(
    session: &mut Session,
    path: &'a Path,
    folders: &mut BTreeMap<PathBuf, &'a Path>,
) -> Result<Vec<Error>> {
    let dir = adapter_dir(path)?;
    let whole = fs::canonicalize(&dir).unwrap_or_else(|_| dir.clone());
    if let Some(first) = folders.get(&whole) {
        let reason = format!("the same folder as {}; it is taken once", first.display());
        return Ok(vec![Error::mismatch(path.display().to_string(), reason)]);
    }
    let mut warnings = session.add_module_dir(&dir, &path.to_string_lossy())?;
    warnings.extend(session.newest_is_a_copy());
    folders.insert(whole, path);
    Ok(warnings)
}

/// Tells whoever leaves the methods to us why none of them composes.
pub fn note_without_modules(session: &Session, named: &[PathBuf], methods: &[String]) {
    if leaves_choice(methods) && named.is_empty() && session.module_names().is_empty() {
        let name = &session.model().name;
        output::note(&format!(
            "no modules ship for {name}: methods that compose are left out; name modules with --modules"
        ));
    }
}

fn add_shipped(session: &mut Session) -> Result<Added> {
    let (name, size) = (&session.model().name, session.info().input_size);
    let Some(manifest) = shipped::modules_for(name, size) else { return Ok(Added::default()) };
    let mut warnings = Vec::new();
    for entry in &manifest.modules {
        let module = manifest.module(&entry.name)?;
        // A model of one's own may have the name of one that modules ship for.
        if let Err(error) = session.add_module(module) {
            let reason = format!(
                "it ships for a model of this name and does not fit ({error}); --modules none leaves out all that ship"
            );
            warnings.push(Error::mismatch(format!("module {}", entry.name), reason));
        }
    }
    warnings.iter().for_each(output::warning);
    Ok(Added { incomplete: !warnings.is_empty(), warnings })
}

type Download<'a> = &'a mut dyn FnMut(Progress);

fn fetch(name: &str, get: impl Fn(&Hub, &str, Download) -> Result<PathBuf>) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_path_buf());
    }
    check_folder(path)?;
    if !is_repo_id(name) || name.starts_with(['.', '/', '~']) {
        let reason = "there is no such folder, and it is not a Hugging Face id (owner/name) or `embedded`";
        return Err(Error::mismatch(name, reason));
    }
    let bar = download_bar();
    let mut show = |progress: Progress| {
        output::advance(&bar, progress.done, progress.total);
        bar.set_message(progress.file);
    };
    let dir = get(&Hub::from_env()?, name, &mut show);
    bar.finish_and_clear();
    dir.map_err(|error| match path.parent().is_some_and(Path::is_dir) {
        // With one of its parts there, a folder was meant.
        true => Error::mismatch(name, format!("there is no such folder, and as an id of the Hub: {error}")),
        false => error,
    })
}

fn download_bar() -> ProgressBar {
    let bar = output::bar(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    bar
}

/// What the arguments change about a model's input.
///
/// # Errors
/// Another number of values than three, or values on the scale of 0 to 255.
pub fn options(arguments: &InputArgs) -> Result<ModelOptions> {
    Ok(ModelOptions {
        img_size: arguments.img_size,
        mean: per_channel("--mean", arguments.mean.as_deref())?,
        std: per_channel("--std", arguments.std.as_deref())?,
        filter: arguments.resample,
        cropping: match (arguments.crop_pct, arguments.no_crop) {
            (Some(share), _) => Some(Cropping::Share(share)),
            (None, true) => Some(Cropping::Squeeze),
            (None, false) => None,
        },
    })
}

/// Three typed values, if any: what is above 1 is meant for pixels of 0 to 255, and would make all pictures look the same.
fn per_channel(option: &str, values: Option<&[f32]>) -> Result<Option<[f32; 3]>> {
    let Some(values) = values else { return Ok(None) };
    let &[red, green, blue] = values else {
        let reason = format!("{} values given, three are needed: red, green, blue", values.len());
        return Err(Error::mismatch(option, reason));
    };
    if let Some(large) = values.iter().find(|value| **value > 1.0) {
        let divided: Vec<String> = values.iter().map(|value| format!("{:.3}", value / 255.0)).collect();
        let reason = format!(
            "{large} is above 1, and pixels are on the scale of 0 to 1; divide by 255, which gives {}",
            divided.join(",")
        );
        return Err(Error::mismatch(option, reason));
    }
    Ok(Some([red, green, blue]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_of_0_to_255_are_refused() {
        let refused = |values: &[f32]| per_channel("--mean", Some(values)).expect_err("refused").to_string();
        let error = refused(&[123.0, 116.0, 103.0]);
        assert!(error.contains("--mean: 123 is above 1") && error.contains("0.482,0.455,0.404"), "{error}");
        assert!(refused(&[0.5, 0.5]).contains("three are needed"));
        for fine in [[0.485, 0.456, 0.406], [1.0; 3], [-1.0, 0.0, 0.0]] {
            assert_eq!(per_channel("--std", Some(&fine)).expect("fine"), Some(fine));
        }
        assert_eq!(per_channel("--std", None).expect("fine"), None);
    }
}
