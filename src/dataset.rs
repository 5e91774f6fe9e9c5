//! Labelled images: class folders, shots, folds. Plain data, no tensors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use unicode_normalization::UnicodeNormalization;

use crate::{
    device,
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
    /// Reads the first `most` images of every class of a listing that can be read. Bad ones are returned as errors, and
    /// the next ones take their places.
    ///
    /// `on_progress` is told (done, total).
    pub fn load(
        listing: &Listing,
        most: usize,
        preprocess: &Preprocess,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> (Self, Vec<Error>) {
        let total = listing.class_sizes().into_iter().map(|size| size.min(most)).sum();
        let mut left = vec![most; listing.classes.len()];
        let mut untried: Vec<usize> = (0..listing.files.len()).collect();
        let mut read = BTreeMap::new();
        loop {
            // As many as every class lacks: all cores read, and nothing is read that is not wanted.
            let mut lacking = left.clone();
            let wanted;
            (wanted, untried) =
                untried.into_iter().partition(|&index| take_one(&mut lacking, listing.files[index].1));
            if wanted.is_empty() {
                break;
            }
            for some in wanted.chunks(READS_BETWEEN_REPORTS * device::num_threads()) {
                let paths: Vec<&Path> = some.iter().map(|&index| listing.files[index].0.as_path()).collect();
                for (&index, crop) in some.iter().zip(read_crops(&paths, preprocess)) {
                    left[listing.files[index].1] -= usize::from(crop.is_ok());
                    read.insert(index, crop);
                }
                on_progress(read.len().min(total), total);
            }
        }
        let (mut examples, mut bad) = (Vec::new(), Vec::new());
        for (index, crop) in read {
            let (path, class) = &listing.files[index];
            match crop {
                Ok(crop) => examples.push(Example { name: path.display().to_string(), class: *class, crop }),
                Err(error) => bad.push(error),
            }
        }
        (Self { name: listing.name.clone(), classes: listing.classes.clone(), examples }, bad)
    }

    /// The classes that have images in a listing and none here.
    pub fn lost(&self, listing: &Listing) -> Vec<String> {
        let sizes = listing.class_sizes().into_iter().zip(self.class_sizes());
        let lost = sizes.zip(&listing.classes).filter(|((listed, read), _)| *listed > 0 && *read == 0);
        lost.map(|(_, name)| name.clone()).collect()
    }

    /// At most `limits[class]` examples of every class: the first ones that [`Listing::shuffled`] gives, if every image that it
    /// lists could be read. One that could not moves the draws of all classes here, where it leaves them alone there.
    pub fn few_shot(&self, limits: &[usize], seed: u64) -> Self {
        let labels: Vec<usize> = self.examples.iter().map(|example| example.class).collect();
        self.pick(&draw_shots(&labels, limits, (seed, Purpose::Shots)))
    }

    /// At most `count` examples, as evenly over the classes as they allow; the first ones that seed 0 draws.
    pub fn at_most(&self, count: usize) -> Self {
        self.few_shot(&self.even_limits(count), 0)
    }

    /// As many, drawn so that they are no seed's shots.
    pub fn compared(&self, count: usize) -> Self {
        let labels: Vec<usize> = self.examples.iter().map(|example| example.class).collect();
        self.pick(&draw_shots(&labels, &self.even_limits(count), (0, Purpose::Compared)))
    }

    /// `count` over the classes, as evenly as they allow.
    fn even_limits(&self, count: usize) -> Vec<usize> {
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
        limits
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

/// Images per core between two reports of how far reading is.
const READS_BETWEEN_REPORTS: usize = 4;

/// Takes one image off what a class lacks; whether it lacked any.
fn take_one(lacking: &mut [usize], class: usize) -> bool {
    let lacks = lacking[class] > 0;
    lacking[class] -= usize::from(lacks);
    lacks
}

/// Image files as a model sees them, each by itself and on all cores: a large photo is not kept longer than it takes.
pub fn read_crops(paths: &[&Path], preprocess: &Preprocess) -> Vec<Result<Picture>> {
    let read = |path: &Path| -> Result<Picture> {
        let crop = preprocess.crop(&decode::decode_file(path)?);
        crop.map_err(|error| error.of_image(&path.display().to_string()))
    };
    device::parallel(paths.to_vec(), read)
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
    /// [`Error::Io`], or [`Error::Dataset`] when there is no class with an image, or the folders are the parts of a task.
    pub fn from_folder(dir: &Path) -> Result<(Self, Vec<Error>)> {
        let name = dir.display().to_string();
        let (folders, others): (Vec<_>, Vec<_>) =
            sorted_entries(dir)?.into_iter().partition(|path| path.is_dir());
        let mut search = Search::default();
        for path in others.into_iter().filter(|path| is_image(path)) {
            let reason = "not in a class folder (put it into one named after its class); left out";
            search.warn_of(&path, reason);
        }
        search.is_new(dir)?;
        // Before what is inside them: a link of one class to another does not take that one's images away.
        let mut classes = Vec::new();
        for path in folders {
            if search.is_new(&path)? {
                classes.push(path);
            }
        }
        let mut by_class = BTreeMap::new();
        for path in classes {
            let files = search.images(&path)?;
            if files.is_empty() {
                let reason = "no image in this class folder; left out".to_string();
                search.warnings.push(Error::Dataset { name: path.display().to_string(), reason });
            } else if by_class.insert(class_name(&path), files).is_some() {
                let reason =
                    "another class folder has the same name up to how its letters are encoded; rename one"
                        .into();
                return Err(Error::Dataset { name: path.display().to_string(), reason });
            }
        }
        if by_class.is_empty() {
            let reason =
                "no class folders with images; make one folder per class and put its images inside".into();
            return Err(Error::Dataset { name, reason });
        }
        let classes: Vec<String> = by_class.keys().cloned().collect();
        if let Some(train) = parts_of_a_task(dir, &classes) {
            let reason = format!(
                "its folders are {}, the parts of a task and no classes; name one of them, as {}",
                classes.join(" and "),
                train.display()
            );
            return Err(Error::Dataset { name, reason });
        }
        let files = by_class
            .into_values()
            .enumerate()
            .flat_map(|(class, files)| files.into_iter().map(move |f| (f, class)));
        Ok((Self { name, classes, files: files.collect() }, search.warnings))
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

    /// Number of files of every class.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        self.files.iter().for_each(|(_, class)| sizes[*class] += 1);
        sizes
    }

    /// The same files in an order that the seed draws, class by class: the first ones of a class are the shots.
    pub fn shuffled(self, seed: u64) -> Self {
        let labels: Vec<usize> = self.files.iter().map(|(_, class)| *class).collect();
        let drawn = draw_shots(&labels, &vec![usize::MAX; self.classes.len()], (seed, Purpose::Shots));
        let files = drawn.into_iter().map(|index| self.files[index].clone()).collect();
        Self { name: self.name, classes: self.classes, files }
    }
}

/// The folder of training images of a task whose parts were taken for classes: they hold folders themselves.
fn parts_of_a_task(dir: &Path, classes: &[String]) -> Option<PathBuf> {
    let is_part = |name: &String| PARTS.contains(&name.to_lowercase().as_str());
    let train = classes.iter().find(|name| name.to_lowercase().starts_with("train"))?;
    let own = dir.join(train);
    let has_classes = || sorted_entries(&own).is_ok_and(|entries| entries.iter().any(|path| path.is_dir()));
    (classes.iter().all(is_part) && has_classes()).then_some(own)
}

/// What the parts of a task are called.
const PARTS: [&str; 7] = ["train", "training", "test", "testing", "val", "valid", "validation"];

/// What systems leave in folders of pictures; names that begin with a dot are left out anyway.
const LITTER: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// Indices of at most `limits[class]` examples of every class, by class and then in the order that the seed draws:
/// lower limits take a subset.
fn draw_shots(labels: &[usize], limits: &[usize], (seed, purpose): (u64, Purpose)) -> Vec<usize> {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); limits.len()];
    for (index, &class) in labels.iter().enumerate() {
        by_class[class].push(index);
    }
    let mut rng = random::stream(seed, purpose);
    for (own, &limit) in by_class.iter_mut().zip(limits) {
        random::shuffle(&mut rng, own);
        own.truncate(limit);
    }
    by_class.into_iter().flatten().collect()
}

/// A walk through folders that enters each one once: links can lead back, or from class to class.
#[derive(Default)]
struct Search {
    /// Folders without links in their paths.
    seen: BTreeSet<PathBuf>,
    warnings: Vec<Error>,
}

impl Search {
    fn warn_of(&mut self, path: &Path, reason: &str) {
        self.warnings.push(Error::Image { name: path.display().to_string(), reason: reason.into() });
    }

    /// Whether nothing has led to a folder before; else a warning.
    fn is_new(&mut self, dir: &Path) -> Result<bool> {
        let whole = fs::canonicalize(dir).map_err(|error| Error::io("list", dir, error))?;
        let new = self.seen.insert(whole);
        if !new {
            let reason = "a link to a folder that is read anyway; left out".into();
            self.warnings.push(Error::Dataset { name: dir.display().to_string(), reason });
        }
        Ok(new)
    }

    /// The images of a folder and of those inside it.
    fn images(&mut self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in sorted_entries(dir)? {
            if path.is_dir() {
                if self.is_new(&path)? {
                    files.extend(self.images(&path)?);
                }
            } else if is_image(&path) && path.exists() && !path.is_file() {
                self.warn_of(&path, "no file (a pipe, a socket or a device); left out");
            } else if is_image(&path) {
                files.push(path);
            } else {
                self.warn_of(&path, "not an image by its name; left out");
            }
        }
        Ok(files)
    }
}

/// Entries in the order of their names, without hidden ones and what systems leave: the same on every file system.
fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("list", dir, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    let counts = |name: String| !name.starts_with('.') && !LITTER.contains(&name.to_lowercase().as_str());
    paths.retain(|path| counts(file_name(path)));
    paths.sort();
    Ok(paths)
}

pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| decode::EXTENSIONS.contains(&extension.as_str()))
}

/// The name of a class folder. Some systems store an accent apart from its letter: the same name is the same class.
pub(crate) fn class_name(path: &Path) -> String {
    file_name(path).nfc().collect()
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
