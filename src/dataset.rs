//! Labelled images: class folders, shots, folds. Plain data, no tensors.

pub(crate) mod listing;

use std::{collections::BTreeMap, path::Path};

pub use self::listing::{Listing, image_files};
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

/// Class of every example.
pub fn labels(examples: &[Example]) -> Vec<usize> {
    examples.iter().map(|example| example.class).collect()
}

impl Dataset {
    /// Reads the first `most[class]` images of every class of a listing that can be read. Bad ones are returned as errors,
    /// and the next ones take their places.
    ///
    /// `on_progress` is told (done, total).
    pub fn load(
        listing: &Listing,
        most: &[usize],
        preprocess: &Preprocess,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> (Self, Vec<Error>) {
        let total = listing.class_sizes().into_iter().zip(most).map(|(size, &most)| size.min(most)).sum();
        let mut left = most.to_vec();
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
        let labels = labels(&self.examples);
        self.pick(&draw_shots(&labels, limits, (seed, Purpose::Shots)))
    }

    /// At most `count` examples, as evenly over the classes as they allow: the first ones of every class.
    pub fn at_most(&self, count: usize) -> Self {
        let mut left = even_limits(&self.class_sizes(), count);
        let is_among = |&index: &usize| take_one(&mut left, self.examples[index].class);
        self.pick(&(0..self.examples.len()).filter(is_among).collect::<Vec<_>>())
    }

    /// As many, drawn so that they are no seed's shots.
    pub fn compared(&self, count: usize) -> Self {
        let labels = labels(&self.examples);
        self.pick(&draw_shots(&labels, &even_limits(&self.class_sizes(), count), (0, Purpose::Compared)))
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

/// `count` images over classes of these sizes, as evenly as they allow.
pub fn even_limits(sizes: &[usize], count: usize) -> Vec<usize> {
    let mut limits = vec![0; sizes.len()];
    let mut left = count.min(sizes.iter().sum());
    while left > 0 {
        for (limit, size) in limits.iter_mut().zip(sizes) {
            if left > 0 && *limit < *size {
                *limit += 1;
                left -= 1;
            }
        }
    }
    limits
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
