//! Reading models, modules and datasets from folders.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use super::{
    ModelFiles, ModelOptions, Session,
    digest::{Digest, picture_digest},
};
use crate::{
    dataset::{Dataset, Example, Listing},
    device::DeviceChoice,
    error::{Error, Result},
    files::last_part,
    image::preprocess::Preprocess,
    lora::module::LoraModule,
};

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
    /// The folder holds no module that is read, or it does not fit the model.
    pub fn add_module_dir(&mut self, dir: &Path, name: &str) -> Result<Vec<Error>> {
        let (mut module, mut warnings) = LoraModule::from_dir(dir)?;
        let own = last_part(name);
        let taken = self.module_names();
        let numbered = (2..).map(|number| format!("{own} {number}"));
        let names = std::iter::once(own.to_string()).chain(numbered);
        module.name = names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        warnings.extend(self.base_mismatch(&module));
        self.add_module(module)?;
        Ok(warnings)
    }

    /// A warning when a module names another base model than the one in use.
    fn base_mismatch(&self, module: &LoraModule) -> Option<Error> {
        let base = module.base_model.as_deref().filter(|base| !base.is_empty())?;
        let differs = last_part(base) != last_part(&self.model.name);
        differs.then(|| {
            let reason = format!("it was trained on {base}, the model in use is {}", self.model.name);
            Error::mismatch(format!("module {}", module.name), reason)
        })
    }

    /// Reads the images of class folders as the model sees them; returns warnings of bad ones.
    ///
    /// `classes` asks for another task's class order; `shots` for at most so many images per class, drawn by a seed among
    /// those that can be read.
    ///
    /// # Errors
    /// No classes, no readable images of a class that is to be learned, or a class that the task does not have.
    pub fn load_dataset(
        &self,
        dir: &Path,
        classes: Option<&[String]>,
        shots: Option<(usize, u64)>,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Dataset, Vec<Error>)> {
        let (mut listing, mut warnings) = Listing::from_folder(dir)?;
        if let Some(classes) = classes {
            listing = listing.aligned(classes)?;
            warnings.extend(untested(&listing));
        }
        let mut most = usize::MAX;
        if let Some((shots, seed)) = shots {
            listing = listing.shuffled(seed);
            most = shots;
        }
        let (dataset, bad) = Dataset::load(&listing, most, &self.model.preprocess, on_progress);
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

/// What a folder may hold in place of a missing file: (missing, found, what to do).
const OTHER_FORMATS: [(&str, &str, &str); 3] = [
    ("config.json", "adapter_config.json", "this is a PEFT adapter, not a model; name it with --modules"),
    (
        "model.safetensors",
        "model.safetensors.index.json",
        "the weights are split into shards; in Python, load the model and call \
         save_pretrained(DIR, max_shard_size=\"4GB\"), then give DIR",
    ),
    (
        "model.safetensors",
        "pytorch_model.bin",
        "only safetensors are read, and a pickle can run code; in Python, call \
         AutoModelForImageClassification.from_pretrained(THIS).save_pretrained(DIR, safe_serialization=True), then \
         give DIR",
    ),
];

/// A warning where classes have no folder of test images.
fn untested(listing: &Listing) -> Option<Error> {
    let sizes = listing.class_sizes();
    let absent = listing.classes.iter().zip(sizes).filter(|(_, size)| *size == 0);
    let names: Vec<String> = absent.map(|(class, _)| format!("`{class}`")).collect();
    let reason = format!("no images of {}; the accuracy is that of the other classes", names.join(", "));
    (!names.is_empty()).then(|| Error::Dataset { name: listing.name.clone(), reason })
}

/// A warning where one picture is in the folders of two classes that are to be learned.
pub fn in_two_classes(train: &Dataset) -> Option<Error> {
    let mut classes: HashMap<Digest, &Example> = HashMap::new();
    let two = train.examples.iter().filter_map(|example| {
        let first = *classes.entry(picture_digest(&example.crop)).or_insert(example);
        (first.class != example.class).then_some((first, example))
    });
    let two: Vec<(&Example, &Example)> = two.collect();
    let (first, other) = two.first()?;
    let more = match two.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more are"),
    };
    let reason = format!(
        "{} and {} are the same picture in two classes{more}; no method can tell them apart, keep one of each",
        first.name, other.name
    );
    Some(Error::Dataset { name: train.name.clone(), reason })
}

/// A warning where test images are training images, too.
pub fn seen(train: &Dataset, test: &Dataset) -> Option<Error> {
    let known: HashSet<Digest> = train.examples.iter().map(|example| picture_digest(&example.crop)).collect();
    let count = test.examples.iter().filter(|example| known.contains(&picture_digest(&example.crop))).count();
    let reason = format!(
        "{count} of {} are training images, too, which makes their accuracy too high; leave them out of one of the two",
        test.examples.len()
    );
    (count > 0).then(|| Error::Dataset { name: test.name.clone(), reason })
}

/// Says what to do with a folder that holds a model in another format.
fn check_formats(dir: &Path) -> Result<()> {
    let other = OTHER_FORMATS
        .iter()
        .find(|(missing, found, _)| !dir.join(missing).exists() && dir.join(found).exists());
    other.map_or(Ok(()), |(_, found, advice)| {
        let (name, option, reason) = (dir.display().to_string(), (*found).into(), (*advice).into());
        Err(Error::Unsupported { name, option, reason })
    })
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
