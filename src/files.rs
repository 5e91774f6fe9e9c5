//! Writing files so that nothing is left half-written, wherever links lead.

pub mod other_formats;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::error::{Error, Result};

/// Links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Writes a file through a temporary neighbour, so that a reader sees the old or the new one. A link stays a link, and
/// what is no file (a pipe, a device) is written to as it is.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return fs::write(path, bytes).map_err(|error| Error::io("write", path, error));
    }
    let mut file = PartialFile::create(path)?;
    file.write_all(bytes).map_err(|error| Error::io("write", path, error))?;
    file.finish()
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_atomic(path, &json_bytes(&path.display().to_string(), value)?)
}

/// A value as the indented JSON of a file; `name` is for messages.
///
/// # Errors
/// It has no JSON.
pub fn json_bytes(name: &str, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| Error::config(name, "-", error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Creates a folder and those above it; one that a link names is created where the link leads.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn create_folder(path: &Path) -> Result<()> {
    // With a slash at its end the path of a link would be that of what it leads to.
    let link: PathBuf = path.components().collect();
    fs::create_dir_all(follow(&link)?).map_err(|error| Error::io("create", path, error))
}

/// Refuses a folder that cannot be written, before hours are spent on what would go there. Nothing of it is left.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn check_writable(dir: &Path) -> Result<()> {
    let whole = follow(&dir.components().collect::<PathBuf>())?;
    let there = whole.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let refused = |error| Error::io("write", dir, error);
    if !there.is_dir() {
        let reason = format!("{} is a file and no folder", there.display());
        return Err(refused(io::Error::other(reason)));
    }
    match PartialFile::create(&there.join("loraloom")) {
        Ok(_) => Ok(()),
        Err(Error::Io { source, .. }) => Err(refused(source)),
        Err(error) => Err(error),
    }
}

/// Refuses a folder in which one of these files lies: somebody else's, which must not be replaced or stay beside what
/// is no longer theirs.
///
/// # Errors
/// The first that is there, by name.
pub fn check_free(dir: &Path, files: &[&str]) -> Result<()> {
    let Some(file) = files.iter().find(|file| dir.join(file).exists()) else { return Ok(()) };
    let article = if file.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let reason =
        format!("holds {article} {file} of something else; choose another folder, or remove what is there");
    Err(Error::mismatch(dir.display().to_string(), reason))
}

/// How the names of packed folders end.
const ARCHIVES: [&str; 8] = [".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z"];

/// Refuses a file where a folder is wanted; what is not there at all is for the system to tell.
///
/// # Errors
/// It is a file, and what to name instead.
pub fn check_folder(path: &Path) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let name = path.display().to_string();
    let packed = ARCHIVES.iter().any(|end| name.to_lowercase().ends_with(end));
    let advice = if packed { "unpack it and name the folder" } else { "name the folder that it is in" };
    Err(Error::mismatch(name, format!("it is a file, and a folder is wanted; {advice}")))
}

/// What a model or a module is called: the last part of its path, or of its id of the Hub without the revision, which may
/// hold slashes itself (`owner/name@refs/pr/1`).
pub fn last_part(name: &str) -> &str {
    let whole = name.trim_end_matches('/');
    let id = whole.split_once('@').map(|(id, _)| id);
    let is_id =
        |id: &&str| id.matches('/').count() == 1 && !id.starts_with(['/', '.']) && !Path::new(name).exists();
    let path = id.filter(is_id).unwrap_or(whole);
    path.rsplit('/').next().unwrap_or(path)
}

/// Where links lead; nothing needs to be there yet.
///
/// # Errors
/// They lead in a circle.
pub fn follow(path: &Path) -> Result<PathBuf> {
    let mut end = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&end) else { return Ok(end) };
        end = end.parent().map_or(next.clone(), |parent| parent.join(next));
    }
    let circle = io::Error::other("its links lead in a circle; remove them");
    Err(Error::io("write", path, circle))
}

/// A file that is written beside its place and moved there once it is whole; if it never is, nothing is left of it.
pub struct PartialFile {
    /// As it was asked for, for messages.
    name: PathBuf,
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl PartialFile {
    /// Begins a file where a path leads, in a folder that is created.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(name: &Path) -> Result<Self> {
        let path = follow(name)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create_folder(parent)?;
        }
        let file_name = path.file_name().map_or_else(String::new, |own| own.to_string_lossy().into_owned());
        let beside =
            |number: usize| path.with_file_name(format!(".{file_name}.{}.{number}.tmp", std::process::id()));
        let (temporary, file) = create_first(beside).map_err(|error| Error::io("write", name, error))?;
        Ok(Self { name: name.into(), path, temporary, file })
    }

    /// Gives it its name; it is on the disk before it has it.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn finish(self) -> Result<()> {
        let moved = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        moved.map_err(|error| Error::io("write", &self.name, error))
    }
}

/// Files of one folder that belong together: all are written beside their places before the first one takes its place, so
/// that a full disk, or something else in a place, costs nothing of what was there.
pub struct Together {
    // Dropped in this order: the temporary files, then the folder that would be empty without them.
    files: Vec<PartialFile>,
    created: Created,
}

impl Together {
    /// Begins in a folder, which is created; without [`Together::finish`] it goes again.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn new(dir: &Path) -> Result<Self> {
        Ok(Self { files: Vec::new(), created: Created::new(dir)? })
    }

    /// Writes files, by their names in a folder, to the disk, beside their places.
    ///
    /// # Errors
    /// As [`Together::new`] and [`Together::add`].
    pub fn of(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<Self> {
        let mut together = Self::new(dir)?;
        files.iter().try_for_each(|(file, bytes)| together.add(&dir.join(file), bytes))?;
        Ok(together)
    }

    /// Writes one more to the disk, beside its place.
    ///
    /// # Errors
    /// [`Error::Io`] with the path: it cannot be written, or what is in its place is no file.
    pub fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let failed = |error| Error::io("write", path, error);
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(failed(io::Error::other(
                "what is there is no file; remove it or name another folder",
            )));
        }
        let mut partial = PartialFile::create(path)?;
        partial.write_all(bytes).and_then(|()| partial.file.sync_all()).map_err(failed)?;
        self.files.push(partial);
        Ok(())
    }

    /// Gives all of them their names, in the order in which they were added.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn finish(mut self) -> Result<()> {
        self.created.keep();
        self.files.into_iter().try_for_each(PartialFile::finish)
    }
}

/// Folders that were not there before, the deepest first; the empty ones go again unless they are kept.
pub(crate) struct Created(Vec<PathBuf>);

impl Created {
    /// Creates a folder and those above it.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let link: PathBuf = dir.components().collect();
        let dir = &follow(&link)?;
        let absent = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let absent: Vec<PathBuf> = absent.map(Path::to_path_buf).collect();
        fs::create_dir_all(dir).map_err(|source| Error::io("create", dir, source))?;
        Ok(Self(absent))
    }

    /// What was created stays.
    pub(crate) fn keep(&mut self) {
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

/// Creates the first of some numbered files that nobody has: processes on other machines, or in other containers, that share
/// a folder can have the same number, and one that was killed left its file.
fn create_first(numbered: impl Fn(usize) -> PathBuf) -> io::Result<(PathBuf, File)> {
    let mut number = 0;
    loop {
        let path = numbered(number);
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // It has its name by now, or a failure was told that is worth more than a leftover, which is only untidy.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_write_the_same_file_do_not_meet() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let [mut one, mut other] = [0; 2].map(|_| PartialFile::create(&path).expect("begins"));
        one.write_all(b"one").expect("writes");
        other.write_all(b"other").expect("writes");
        one.finish().expect("is named");
        assert_eq!(fs::read(&path).expect("reads"), b"one");
        other.finish().expect("is named");
        assert_eq!(fs::read(&path).expect("reads"), b"other");
        assert_eq!(fs::read_dir(&dir).expect("lists").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_and_the_old_file_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kept");
        write_atomic(&path, b"old").expect("writes");
        let mut file = PartialFile::create(&path).expect("begins");
        file.write_all(b"half of").expect("writes");
        drop(file);
        assert_eq!(fs::read(&path).expect("the old file"), b"old");
        let error = write_atomic(dir.path(), b"a folder is in the way").expect_err("no file");
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "no temporary file");
    }

    #[test]
    fn files_that_belong_together_are_all_replaced_or_none() {
        let place = tempfile::tempdir().expect("a folder");
        let dir = place.path().join("new/folder");
        let at = |name: &str| dir.join(name);
        let write = |text: &str| {
            let mut files = Together::new(&dir)?;
            files.add(&at("one"), text.as_bytes())?;
            files.add(&at("other"), text.as_bytes())?;
            files.finish()
        };
        drop(Together::new(&dir).and_then(|mut files| files.add(&at("one"), b"lost")));
        assert!(!place.path().join("new").exists(), "an empty folder goes again");
        write("old").expect("writes");
        fs::remove_file(at("other")).and_then(|()| fs::create_dir(at("other"))).expect("a folder in the way");
        let error = write("new").expect_err("no file").to_string();
        assert!(error.contains("other") && error.contains("remove it"), "{error}");
        assert_eq!(fs::read(at("one")).expect("reads"), b"old");
        assert_eq!(fs::read_dir(&dir).expect("lists").count(), 2, "no temporary file");
        fs::remove_dir(at("other")).expect("removes");
        write("new").expect("writes");
        for name in ["one", "other"] {
            assert_eq!(fs::read(at(name)).expect("reads"), b"new");
        }
    }

    #[test]
    fn a_name_is_the_last_part_without_a_revision() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = dir.path().join("cats@home");
        fs::create_dir(&own).expect("a folder");
        assert_eq!(last_part(&own.display().to_string()), "cats@home");
        for (name, part) in [
            ("owner/cats", "cats"),
            ("owner/cats@main", "cats"),
            ("owner/cats@refs/pr/1", "cats"),
            ("/there/a@b/cats/", "cats"),
            ("../a@b/cats", "cats"),
            ("cats", "cats"),
        ] {
            assert_eq!(last_part(name), part, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_pipe_a_pipe() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let is_link = |name: &str| fs::symlink_metadata(at(name)).expect("there").is_symlink();
        fs::create_dir(at("real")).expect("a folder");
        symlink("real/file", at("link")).expect("a link to what is not there yet");
        symlink("link", at("second")).expect("a link to a link");
        for text in [b"one", b"two"] {
            write_atomic(&at("second"), text).expect("writes");
            assert_eq!(fs::read(at("real/file")).expect("the file"), text);
        }
        assert!(is_link("link") && is_link("second"));
        symlink("later", at("folder")).expect("a link to a folder that is not there yet");
        write_atomic(&at("folder/file"), b"three").expect("writes");
        create_folder(&at("folder/")).expect("it is there");
        assert_eq!(fs::read(at("later/file")).expect("the file"), b"three");
        symlink("b", at("a")).and_then(|()| symlink("a", at("b"))).expect("a circle");
        let error = write_atomic(&at("a"), b"").expect_err("nowhere").to_string();
        assert!(error.contains("circle"), "{error}");
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = at("pipe");
            move || fs::read(pipe).expect("reads")
        });
        write_atomic(&at("pipe"), b"through").expect("writes");
        assert_eq!(reader.join().expect("ends"), b"through");
        assert!(fs::metadata(at("pipe")).expect("there").file_type().is_fifo());
    }
}
