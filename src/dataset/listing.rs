//! Image files in folders, before they are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use unicode_normalization::UnicodeNormalization;

use super::draw_shots;
use crate::{
    error::{Error, Result},
    files::check_folder,
    image::{decode, unread},
    random::Purpose,
};

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
    /// [`Error::Io`], [`Error::Mismatch`] when it is a file, or [`Error::Dataset`] when there is no class with an image, or the
    /// folders are the parts of a task.
    pub fn from_folder(dir: &Path) -> Result<(Self, Vec<Error>)> {
        Self::read(dir, Part::Train)
    }

    /// As [`Listing::from_folder`], where the images are to test on.
    ///
    /// # Errors
    /// The same, with another advice.
    pub fn from_test_folder(dir: &Path) -> Result<(Self, Vec<Error>)> {
        Self::read(dir, Part::Test)
    }

    fn read(dir: &Path, part: Part) -> Result<(Self, Vec<Error>)> {
        check_folder(dir)?;
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
            // A folder of a phone's pictures has images in a person's eyes.
            let left_out = search.warnings.iter().find(|error| matches!(error, Error::Image { .. }));
            let left_out = left_out.map_or(String::new(), |error| format!(" ({error})"));
            let reason = format!(
                "no class folders with images; make one folder per class and put its images inside{left_out}"
            );
            return Err(Error::Dataset { name, reason });
        }
        let classes: Vec<String> = by_class.keys().cloned().collect();
        if let Some(own) = parts_of_a_task(dir, &classes, part) {
            let reason = format!(
                "its folders are {}, the parts of a task and no classes; name one of them, as {}",
                classes.join(" and "),
                own.display()
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
                reason: format!(
                    "class `{name}` is not among the classes of the task ({}); rename its folder, or take it out",
                    classes.join(", ")
                ),
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

/// What the images of a folder are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Test,
}

/// The part that is wanted of a task whose parts were taken for classes: they hold folders themselves.
fn parts_of_a_task(dir: &Path, classes: &[String], wanted: Part) -> Option<PathBuf> {
    let begins = |name: &str, with: &str| name.to_lowercase().starts_with(with);
    let is_part = |name: &String| PARTS.contains(&name.to_lowercase().as_str());
    let train = classes.iter().find(|name| begins(name, "train"))?;
    let has_classes =
        || sorted_entries(&dir.join(train)).is_ok_and(|entries| entries.iter().any(|path| path.is_dir()));
    if !classes.iter().all(is_part) || !has_classes() {
        return None;
    }
    let others = classes.iter().filter(|name| !begins(name, "train"));
    // Images of validation where there are none to test on.
    let other = others.min_by_key(|name| !begins(name, "test"));
    Some(dir.join(other.filter(|_| wanted == Part::Test).unwrap_or(train)))
}

/// What the parts of a task are called.
const PARTS: [&str; 7] = ["train", "training", "test", "testing", "val", "valid", "validation"];

/// What systems leave in folders of pictures; names that begin with a dot are left out anyway.
const LITTER: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// The files among some paths, and the images inside the folders among them, by name; what is left out, folders that cannot
/// be listed among it, is named in the warnings.
pub fn image_files(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<Error>) {
    let mut search = Search::default();
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(search.inside(path)),
            false => files.push(path.clone()),
        }
    }
    (files, search.warnings)
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

    /// The images of a folder that is one of several: where it cannot be listed, a warning, as of an image that cannot be read.
    fn inside(&mut self, dir: &Path) -> Vec<PathBuf> {
        let found = self.is_new(dir).and_then(|new| if new { self.images(dir) } else { Ok(Vec::new()) });
        found.unwrap_or_else(|error| {
            self.warnings.push(error);
            Vec::new()
        })
    }

    /// The images of a folder and of those inside it.
    ///
    /// # Errors
    /// [`Error::Io`]: the folder itself cannot be listed.
    fn images(&mut self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in sorted_entries(dir)? {
            if path.is_dir() {
                files.extend(self.inside(&path));
            } else if is_image(&path) && path.exists() && !path.is_file() {
                self.warn_of(&path, "no file (a pipe, a socket or a device); left out");
            } else if is_image(&path) {
                files.push(path);
            } else {
                let reason = unread::by_name(&path).unwrap_or_else(|| "not an image by its name".into());
                self.warn_of(&path, &format!("{reason}; left out"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_listed_costs_no_other() {
        let place = tempfile::tempdir().expect("a folder");
        let photo = place.path().join("photo.png");
        fs::write(&photo, b"").expect("a file");
        let mut search = Search::default();
        // What is not there can be listed by nobody, root included.
        let gone = place.path().join("gone");
        assert_eq!(search.inside(&gone), Vec::<PathBuf>::new());
        assert_eq!(search.inside(place.path()), [photo]);
        let told: Vec<String> = search.warnings.iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains(&format!("cannot list {}", gone.display())), "{told:?}");
        assert!(search.images(&gone).is_err(), "a class folder");
    }
}
