//! Labelled images: class folders, shots, folds. Plain data, no tensors.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    image::{Picture, decode, preprocess::Preprocess},
    random::{self, Purpose},
};

/// One labelled image as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// File name, for messages.
    pub name: String,
    /// Index into the dataset's classes.
    pub class: usize,
    /// Resized and cropped pixels.
    pub crop: Picture,
}

/// Labelled images in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Folder or task name.
    pub name: String,
    /// Class names; a class is named by its index.
    pub classes: Vec<String>,
    /// The images.
    pub examples: Vec<Example>,
}

impl Dataset {
    /// Reads a listing's images. Bad ones are returned as errors, and the rest goes on.
    ///
    /// `on_progress` is told (done, total).
    ///
    /// # Errors
    /// [`Error::Dataset`] when no image is left, or a class lost all of its images.
    pub fn load(
        listing: &Listing,
        preprocess: &Preprocess,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Vec<Error>)> {
        let (mut examples, mut bad) = (Vec::with_capacity(listing.files.len()), Vec::new());
        for (index, (path, class)) in listing.files.iter().enumerate() {
            match read_crop(path, preprocess) {
                Ok(crop) => examples.push(Example { name: path.display().to_string(), class: *class, crop }),
                Err(error) => bad.push(error),
            }
            on_progress(index + 1, listing.files.len());
        }
        let had = |class: usize| listing.files.iter().any(|(_, own)| *own == class);
        let lost = (0..listing.classes.len())
            .find(|class| had(*class) && examples.iter().all(|e| e.class != *class));
        if let Some(class) = lost {
            let first = bad.first().map_or(String::new(), |error| format!(" (the first: {error})"));
            let reason = format!("no image of class `{}` can be read{first}", listing.classes[class]);
            return Err(Error::Dataset { name: listing.name.clone(), reason });
        }
        Ok((Self { name: listing.name.clone(), classes: listing.classes.clone(), examples }, bad))
    }

    /// At most `limits[class]` examples of every class, the ones that [`Listing::few_shot`] would draw.
    pub fn few_shot(&self, limits: &[usize], seed: u64) -> Self {
        let labels: Vec<usize> = self.examples.iter().map(|example| example.class).collect();
        self.pick(&draw_shots(&labels, limits, seed))
    }

    /// At most `count` examples, as evenly over the classes as they allow; the first ones that seed 0 draws.
    pub fn at_most(&self, count: usize) -> Self {
        let sizes = self.class_sizes();
        let mut limits = vec![0; sizes.len()];
        let mut left = count.min(self.examples.len());
        while left > 0 {
            for (limit, size) in limits.iter_mut().zip(&sizes) {
                if left > 0 && *limit < *size {
                    *limit += 1;
                    left -= 1;
                }
            }
        }
        self.few_shot(&limits, 0)
    }

    /// Number of examples of every class.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        self.examples.iter().for_each(|example| sizes[example.class] += 1);
        sizes
    }

    fn pick(&self, indices: &[usize]) -> Self {
        let examples = indices.iter().map(|&index| self.examples[index].clone()).collect();
        Self { name: self.name.clone(), classes: self.classes.clone(), examples }
    }
}

fn read_crop(path: &Path, preprocess: &Preprocess) -> Result<Picture> {
    preprocess.crop(&decode::decode_file(path)?).map_err(|error| error.of_image(&path.display().to_string()))
}

/// Image files by class, before they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Folder name.
    pub name: String,
    /// Class names, sorted unless aligned to another task.
    pub classes: Vec<String>,
    /// (file, class), by class and then by name.
    pub files: Vec<(PathBuf, usize)>,
}

impl Listing {
    /// The images of `dir/<class>/…`; files that are not images are named in the warnings.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Dataset`] when there is no class with an image.
    pub fn from_folder(dir: &Path) -> Result<(Self, Vec<Error>)> {
        let name = dir.display().to_string();
        let (mut by_class, mut warnings) = (BTreeMap::new(), Vec::new());
        for path in sorted_entries(dir)? {
            if !path.is_dir() {
                if is_image(&path) {
                    let reason = "not in a class folder (put it into one named after its class); left out";
                    warnings.push(Error::Image { name: path.display().to_string(), reason: reason.into() });
                }
                continue;
            }
            let mut files = Vec::new();
            collect_images(&path, &mut files, &mut warnings)?;
            if files.is_empty() {
                let reason = "no image in this class folder; left out".to_string();
                warnings.push(Error::Dataset { name: path.display().to_string(), reason });
            } else {
                by_class.insert(file_name(&path), files);
            }
        }
        if by_class.is_empty() {
            let reason =
                "no class folders with images; make one folder per class and put its images inside".into();
            return Err(Error::Dataset { name, reason });
        }
        let classes = by_class.keys().cloned().collect();
        let files = by_class
            .into_values()
            .enumerate()
            .flat_map(|(class, files)| files.into_iter().map(move |f| (f, class)));
        Ok((Self { name, classes, files: files.collect() }, warnings))
    }

    /// The same files under another task's class order.
    ///
    /// # Errors
    /// [`Error::Dataset`] names a class that the other task does not have.
    pub fn aligned(self, classes: &[String]) -> Result<Self> {
        let index = |name: &String| {
            classes.iter().position(|class| class == name).ok_or_else(|| Error::Dataset {
                name: self.name.clone(),
                reason: format!("class `{name}` is not among the training classes ({})", classes.join(", ")),
            })
        };
        let order: Vec<usize> = self.classes.iter().map(index).collect::<Result<_>>()?;
        let mut files: Vec<_> = self.files.into_iter().map(|(path, class)| (path, order[class])).collect();
        files.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        Ok(Self { name: self.name, classes: classes.to_vec(), files })
    }

    /// At most `shots` images per class, drawn by the seed: fewer shots are a subset of more shots.
    pub fn few_shot(self, shots: usize, seed: u64) -> Self {
        let labels: Vec<usize> = self.files.iter().map(|(_, class)| *class).collect();
        let drawn = draw_shots(&labels, &vec![shots; self.classes.len()], seed);
        let files = drawn.into_iter().map(|index| self.files[index].clone()).collect();
        Self { name: self.name, classes: self.classes, files }
    }
}

/// Indices of at most `limits[class]` examples of every class, by class and then in the order that the seed draws:
/// lower limits take a subset.
fn draw_shots(labels: &[usize], limits: &[usize], seed: u64) -> Vec<usize> {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); limits.len()];
    for (index, &class) in labels.iter().enumerate() {
        by_class[class].push(index);
    }
    let mut rng = random::stream(seed, Purpose::Shots);
    for (own, &limit) in by_class.iter_mut().zip(limits) {
        random::shuffle(&mut rng, own);
        own.truncate(limit);
    }
    by_class.into_iter().flatten().collect()
}

fn collect_images(dir: &Path, files: &mut Vec<PathBuf>, warnings: &mut Vec<Error>) -> Result<()> {
    for path in sorted_entries(dir)? {
        if path.is_dir() {
            collect_images(&path, files, warnings)?;
        } else if is_image(&path) {
            files.push(path);
        } else {
            let reason = "not an image by its name; left out".to_string();
            warnings.push(Error::Image { name: path.display().to_string(), reason });
        }
    }
    Ok(())
}

/// Entries in the order of their names, without hidden ones: the same on every file system.
fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("list", dir, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| decode::EXTENSIONS.contains(&extension.as_str()))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Folds of held-out examples, stratified by class and drawn by the seed.
///
/// With at most `max_folds` examples, each is a fold of its own (leave-one-out). An image that is its
/// class's only one is never held out, because nothing would be left to learn the class from; no
/// fold takes all images of a class.
pub fn folds(labels: &[usize], max_folds: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        by_class.entry(label).or_default().push(index);
    }
    by_class.retain(|_, own| own.len() > 1);
    let count: usize = by_class.values().map(Vec::len).sum();
    let max_folds = max_folds.max(2);
    if count <= max_folds {
        let mut all: Vec<usize> = by_class.into_values().flatten().collect();
        all.sort_unstable();
        return all.into_iter().map(|index| vec![index]).collect();
    }
    let mut rng = random::stream(seed, Purpose::Folds);
    let mut folds = vec![Vec::new(); max_folds];
    // One running position over all classes: folds differ in size by at most one, and the images of
    // a class go to different folds as long as there are folds.
    let mut next = 0;
    for own in by_class.values_mut() {
        random::shuffle(&mut rng, own);
        for &index in own.iter() {
            folds[next % max_folds].push(index);
            next += 1;
        }
    }
    folds
}
