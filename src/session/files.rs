//! Reading models, modules and datasets from folders.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{
    ModelFiles, ModelOptions, Session,
    digest::{Digest, hex, picture_digest},
    place::{CARD, MODEL_FILES},
};
use crate::{
    dataset::{Dataset, Example, Listing, even_limits},
    device::{DeviceChoice, block_on},
    error::{Error, Result},
    files::{last_part, other_formats::refusal},
    image::preprocess::Preprocess,
    lora::module::LoraModule,
};

/// Which images of a folder are read; bad ones leave their places to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// At most so many of every class, drawn by a seed.
    Shots(usize, u64),
    /// At most so many in all, as evenly over the classes as they allow: the first ones that seed 0 draws.
    AtMost(usize),
}

/// Bytes of a file that are in memory at once where only its hash is wanted.
const READ_AT_ONCE: usize = 1 << 20;

impl Session {
    /// Opens a device and loads a model from a folder (`config.json`, `model.safetensors` and, if
    /// there is one, `preprocessor_config.json`).
    ///
    /// # Errors
    /// A file that cannot be read, or a checkpoint that is refused.
    pub async fn open_dir(
        choice: DeviceChoice,
        name: &str,
        dir: &Path,
        options: &ModelOptions,
    ) -> Result<Self> {
        check_formats(dir)?;
        let config = read_text(&dir.join("config.json"))?;
        let preprocessor = dir.join("preprocessor_config.json");
        let preprocessor = preprocessor.exists().then(|| read_text(&preprocessor)).transpose()?;
        let weights = read_bytes(&dir.join("model.safetensors"))?;
        let files =
            ModelFiles { name, config: &config, preprocessor: preprocessor.as_deref(), weights: &weights };
        Self::open(choice, files, options).await
    }

    /// Adds the PEFT module of a folder to the library; returns its warnings.
    ///
    /// `name` is what a person calls it, a path or an id of the Hub: its last part names the module, with a number where
    /// another module has that name.
    ///
    /// # Errors
    /// The folder holds no module that is read, it does not fit the model, or the device was lost.
    pub fn add_module_dir(&mut self, dir: &Path, name: &str) -> Result<Vec<Error>> {
        let (mut module, mut warnings) = LoraModule::from_dir(dir)?;
        let own = last_part(name);
        let taken = self.module_names();
        let numbered = (2..).map(|number| format!("{own} {number}"));
        let names = std::iter::once(own.to_string()).chain(numbered);
        module.name = names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        warnings.extend(self.base_mismatch(dir, &module)?);
        self.add_module(module)?;
        Ok(warnings)
    }

    /// A warning when a module was trained on another base model than the one in use: by the hash in its card, or without
    /// one by the name in its configuration.
    fn base_mismatch(&mut self, dir: &Path, module: &LoraModule) -> Result<Option<Error>> {
        let (base, hash) = (module.base_model.as_deref().filter(|base| !base.is_empty()), trained_on(dir));
        let same = match (&hash, base) {
            (Some(hash), _) => *hash == hex(&block_on(self.model_digest())?),
            (None, Some(base)) => last_part(base) == last_part(&self.model.name),
            (None, None) => true,
        };
        let base = base.unwrap_or("a model without a name");
        // With the hash the names can be the same, and something else differs.
        let other = match hash {
            Some(_) => {
                ", which is another one, another version of it, or takes pictures of another size or prepared in another way"
            }
            None => "",
        };
        let reason = format!("it was trained on {base}, the model in use is {}{other}", self.model.name);
        Ok((!same).then(|| Error::mismatch(format!("module {}", module.name), reason)))
    }

    /// Reads the images of class folders as the model sees them; returns warnings of bad ones.
    ///
    /// `classes` asks for another task's class order; `selection` says which of the images are read.
    ///
    /// # Errors
    /// No classes, no readable images of a class that is to be learned, or a class that the task does not have.
    pub fn load_dataset(
        &self,
        dir: &Path,
        classes: Option<&[String]>,
        selection: Selection,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Dataset, Vec<Error>)> {
        let (mut listing, mut warnings) = match classes {
            Some(_) => Listing::from_test_folder(dir)?,
            None => Listing::from_folder(dir)?,
        };
        if let Some(classes) = classes {
            listing = listing.aligned(classes)?;
            warnings.extend(untested(&listing));
        }
        let sizes = listing.class_sizes();
        let most = match selection {
            Selection::All => sizes,
            Selection::Shots(shots, seed) => {
                listing = listing.shuffled(seed);
                vec![shots; sizes.len()]
            }
            Selection::AtMost(count) => {
                listing = listing.shuffled(0);
                even_limits(&sizes, count)
            }
        };
        let (dataset, bad) = Dataset::load(&listing, &most, &self.model.preprocess, on_progress);
        let first = bad.first().map_or(String::new(), |error| format!(" (the first: {error})"));
        let lost = |class: String| Error::Dataset {
            name: listing.name.clone(),
            reason: format!("no image of class `{class}` can be read{first}"),
        };
        let mut lost: Vec<Error> = dataset.lost(&listing).into_iter().map(lost).collect();
        // A class that nothing tests changes a figure; one that nothing is learned of is no class.
        let needed = classes.is_none() || dataset.examples.is_empty();
        if needed && !lost.is_empty() {
            return Err(lost.swap_remove(0));
        }
        warnings.extend(bad);
        warnings.extend(lost);
        Ok((dataset, warnings))
    }

    /// How the model's input is prepared.
    pub fn preprocess(&self) -> &Preprocess {
        &self.model.preprocess
    }
}

/// Hash of the model that a module was trained on, where `train-module` left it in the module's card.
fn trained_on(dir: &Path) -> Option<String> {
    let card: serde_json::Value = serde_json::from_str(&fs::read_to_string(dir.join(CARD)).ok()?).ok()?;
    card["model_sha256"].as_str().map(str::to_string)
}

/// A warning where classes have no folder of test images.
fn untested(listing: &Listing) -> Option<Error> {
    let names = of_size(&listing.classes, &listing.class_sizes(), 0);
    let reason = format!("no images of {}; the accuracy is that of the other classes", names.join(", "));
    (!names.is_empty()).then(|| Error::Dataset { name: listing.name.clone(), reason })
}

/// A warning where some classes have one training image, which is never held out; where all have one, nothing is.
pub fn never_held_out(train: &Dataset) -> Option<Error> {
    let names = of_size(&train.classes, &train.class_sizes(), 1);
    let reason = format!(
        "the only image of {} is never held out; the held-out accuracy is that of the other classes, add images",
        names.join(", or of ")
    );
    let some = !names.is_empty() && names.len() < train.classes.len();
    some.then(|| Error::Dataset { name: train.name.clone(), reason })
}

/// The classes that have so many images.
fn of_size(classes: &[String], sizes: &[usize], size: usize) -> Vec<String> {
    let own = classes.iter().zip(sizes).filter(|(_, own)| **own == size);
    own.map(|(class, _)| format!("`{class}`")).collect()
}

/// Warnings of pictures that are there more than once: in two classes, more than once in a class, among the test images.
pub fn repeats(train: &Dataset, test: Option<&Dataset>) -> Vec<Error> {
    let mut known: HashMap<Digest, &Example> = HashMap::new();
    let (mut two, mut copies) = (Vec::new(), Vec::new());
    for example in &train.examples {
        match known.entry(picture_digest(&example.crop)) {
            Entry::Vacant(place) => _ = place.insert(example),
            Entry::Occupied(first) if first.get().class == example.class => {
                copies.push((*first.get(), example));
            }
            Entry::Occupied(first) => two.push((*first.get(), example)),
        }
    }
    let of_train = [in_two_classes(&two), copied(&copies)].into_iter().flatten();
    let of_train = of_train.map(|reason| Error::Dataset { name: train.name.clone(), reason });
    of_train.chain(test.and_then(|test| seen(&known, test))).collect()
}

/// One picture in the folders of two classes that are to be learned.
fn in_two_classes(pairs: &[(&Example, &Example)]) -> Option<String> {
    let (first, other) = pairs.first()?;
    let more = match pairs.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more are"),
    };
    Some(format!(
        "{} and {} are the same picture in two classes{more}; no method can tell them apart, keep one of each",
        first.name, other.name
    ))
}

/// One picture several times in a class: where one is held out, the other one is learned from.
fn copied(pairs: &[(&Example, &Example)]) -> Option<String> {
    let (first, other) = pairs.first()?;
    let more = match pairs.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more are copies"),
    };
    Some(format!(
        "{} and {} are the same picture{more}; held-out accuracy is too high with copies, keep one of each",
        first.name, other.name
    ))
}

/// Test images that are training images, too.
fn seen(known: &HashMap<Digest, &Example>, test: &Dataset) -> Option<Error> {
    let is_known = |example: &&Example| known.contains_key(&picture_digest(&example.crop));
    let count = test.examples.iter().filter(is_known).count();
    let reason = format!(
        "{count} of {} are training images, too, which makes their accuracy too high; leave them out of one of the two",
        test.examples.len()
    );
    (count > 0).then(|| Error::Dataset { name: test.name.clone(), reason })
}

/// Says what to do with a folder that holds a model in another format.
fn check_formats(dir: &Path) -> Result<()> {
    let is_there = |file: &str| dir.join(file).exists();
    let missing = MODEL_FILES.iter().filter(|file| !is_there(file));
    let refused = missing.filter_map(|file| refusal(&dir.display().to_string(), file, is_there)).next();
    refused.map_or(Ok(()), Err)
}

/// Reads a text file.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io("read", path, error))
}

/// Reads a file.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io("read", path, error))
}

/// Hash of a file's bytes, which are not in memory at once.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn file_digest(path: &Path) -> Result<Digest> {
    let io = |error| Error::io("read", path, error);
    let mut file = BufReader::with_capacity(READ_AT_ONCE, File::open(path).map_err(io)?);
    let mut hasher = Sha256::new();
    loop {
        let bytes = file.fill_buf().map_err(io)?;
        let count = bytes.len();
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(bytes);
        file.consume(count);
    }
}
