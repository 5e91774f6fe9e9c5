//! Photos for pre-training: class folders or tar files of them, kept in memory as they are on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    dataset::{
        Listing,
        listing::{class_name, is_image},
    },
    device,
    error::{Error, Result},
    image::{
        Picture,
        decode::{MAX_BYTES, decode, read_file},
    },
    session::digest::{Digest, sha256},
};

/// A photo that is decoded whenever it is needed.
#[derive(Clone, Debug)]
pub struct Photo {
    /// Where it came from.
    pub name: String,
    /// Index into the classes.
    pub class: usize,
    bytes: Vec<u8>,
}

impl Photo {
    /// Decodes it.
    ///
    /// # Errors
    /// It is not an image.
    pub fn picture(&self) -> Result<Picture> {
        decode(&self.name, &self.bytes)
    }
}

/// Photos for training and for validation, which share no image.
#[derive(Clone, Debug)]
pub struct Photos {
    /// Class names.
    pub classes: Vec<String>,
    /// To learn from.
    pub train: Vec<Photo>,
    /// To measure with: the last ones of every class, by name.
    pub validation: Vec<Photo>,
}

impl Photos {
    /// Reads class folders or tar files of `<class>/<image>`; the last `held_out` images of a class are for
    /// validation. What cannot be read is left out and returned as warnings.
    ///
    /// # Errors
    /// A path cannot be read, or holds fewer than two classes with more than `held_out` images.
    pub fn read(paths: &[PathBuf], held_out: usize) -> Result<(Self, Vec<Error>)> {
        let (mut by_class, mut warnings) = (ByClass::new(), Vec::new());
        for path in paths {
            match path.is_dir() {
                true => read_folder(path, &mut by_class, &mut warnings)?,
                false => read_tar(path, &mut by_class)?,
            }
        }
        let mut photos = Self { classes: Vec::new(), train: Vec::new(), validation: Vec::new() };
        for (index, (class, mut files)) in by_class.into_iter().enumerate() {
            files.sort();
            let photos_of = files.into_iter().map(|(name, bytes)| Photo { name, class: index, bytes });
            let readable = readable(photos_of.collect(), &mut warnings);
            let kept = readable.len().saturating_sub(held_out);
            for (position, photo) in readable.into_iter().enumerate() {
                if position < kept { photos.train.push(photo) } else { photos.validation.push(photo) }
            }
            photos.classes.push(class);
        }
        let twice = photos.keep_apart();
        let trained: BTreeSet<usize> = photos.train.iter().map(|photo| photo.class).collect();
        if photos.classes.len() < 2 || trained.len() < photos.classes.len() {
            let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            let reason = format!(
                "pre-training needs two classes or more, each with more than the {held_out} images kept for validation{}",
                twice.map_or(String::new(), |error| format!(" ({error})"))
            );
            return Err(Error::Dataset { name, reason });
        }
        warnings.extend(twice);
        Ok((photos, warnings))
    }
}

impl Photos {
    /// Takes out of the training photos what is kept for validation, too: archives overlap, and the figures would be of
    /// photos that were learned.
    fn keep_apart(&mut self) -> Option<Error> {
        let bytes = |photos: &[Photo]| {
            device::parallel(photos.iter().collect(), |photo: &Photo| sha256([&photo.bytes[..]]))
        };
        let held_out: BTreeSet<Digest> = bytes(&self.validation).into_iter().collect();
        let all = self.train.len();
        let mut known = bytes(&self.train).into_iter().map(|digest| held_out.contains(&digest));
        self.train.retain(|_| !known.next().unwrap_or_default());
        let count = all - self.train.len();
        let name = "--data".to_string();
        let reason = format!(
            "{count} of {all} training images are among those kept for validation, too; left out of training"
        );
        (count > 0).then_some(Error::Dataset { name, reason })
    }
}

/// The photos that can be decoded: a bad one in the middle of a run would end it.
fn readable(photos: Vec<Photo>, warnings: &mut Vec<Error>) -> Vec<Photo> {
    let check = |photo: Photo| photo.picture().map(|_| photo);
    let checked = device::parallel(photos, check).into_iter();
    checked.filter_map(|result| result.map_err(|error| warnings.push(error)).ok()).collect()
}

impl Photos {
    /// The hash of the training photos' bytes and classes; where they lie does not matter.
    pub fn digest(&self) -> Digest {
        let digest = |photo: &Photo| sha256([&(photo.class as u64).to_le_bytes()[..], &photo.bytes]);
        let each: Vec<Digest> = device::parallel(self.train.iter().collect(), digest);
        sha256(each.iter().map(|digest| &digest[..]))
    }
}

/// How compressed files begin.
const COMPRESSED: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
];

type ByClass = BTreeMap<String, Vec<(String, Vec<u8>)>>;

fn read_folder(path: &Path, by_class: &mut ByClass, warnings: &mut Vec<Error>) -> Result<()> {
    let (listing, found) = Listing::from_folder(path)?;
    warnings.extend(found);
    for (file, class) in listing.files {
        let class = listing.classes[class].clone();
        match read_file(&file) {
            Ok(bytes) => by_class.entry(class).or_default().push((file.display().to_string(), bytes)),
            Err(error) => warnings.push(error),
        }
    }
    Ok(())
}

fn read_tar(path: &Path, by_class: &mut ByClass) -> Result<()> {
    let failed = |error| Error::io("read", path, error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let start = file.fill_buf().map_err(failed)?;
    if let Some((_, what)) = COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        let reason =
            format!("it is compressed with {what}; unpack it, and name the folder or the tar file inside");
        return Err(Error::Dataset { name: path.display().to_string(), reason });
    }
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().map_err(failed)?;
    // The first header says what it is; its error would show the bytes that were taken for numbers.
    let first = entries.next().transpose().map_err(|_| {
        let reason = "it is no tar file; give a folder with one folder per class, or a tar of one".into();
        Error::Dataset { name: path.display().to_string(), reason }
    })?;
    for entry in first.map(Ok).into_iter().chain(entries) {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.to_path_buf();
        let class = name.parent().filter(|folder| folder.file_name().is_some()).map(class_name);
        // Archives come with notes and with the hidden files of some systems.
        let wanted = entry.header().entry_type().is_file() && is_image(&name) && !is_hidden(&name);
        if let (true, Some(class)) = (wanted, class) {
            let mut bytes = Vec::new();
            (&mut entry).take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
            by_class.entry(class).or_default().push((name.display().to_string(), bytes));
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
