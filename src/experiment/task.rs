//! A task's images: read once, drawn from for every cell.

use std::path::Path;

use super::{
    plan::{Cell, Draw, Shots},
    settings::Settings,
    shifts::{Corruption, uneven_shots},
};
use crate::{
    dataset::{Dataset, Example, Listing},
    error::{Error, Result},
    session::{
        Session,
        files::{Selection, repeats},
    },
};

/// Refuses a folder that is no task, before hours are spent on the ones before it. No image is read.
///
/// # Errors
/// `train` or `test` is missing or holds no classes, `train` has one only, or `test` has a class that `train` has not.
pub fn check(dir: &Path) -> Result<()> {
    if let Some(part) = ["train", "test"].into_iter().find(|part| !dir.join(part).is_dir()) {
        let inside = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let tasks = inside.into_iter().any(|entry| entry.path().join(part).is_dir());
        let hint = if tasks { format!("; name the tasks in it: {}/*", dir.display()) } else { String::new() };
        let reason = format!(
            "no folder {part} in it; a task is a folder with train and test, which hold a folder per class{hint}"
        );
        return Err(Error::Dataset { name: dir.display().to_string(), reason });
    }
    let (train, _) = Listing::from_folder(&dir.join("train"))?;
    let (test, _) = Listing::from_folder(&dir.join("test"))?;
    if train.classes.len() < 2 {
        let reason = "train has one class; a task has two or more".into();
        return Err(Error::Dataset { name: dir.display().to_string(), reason });
    }
    test.aligned(&train.classes).map(|_| ())
}

/// A task in memory.
pub struct Task {
    train: Dataset,
    /// The test images of plain runs.
    pub test: Dataset,
    /// Test images under covariate shift; empty unless asked for.
    pub corrupted: Vec<(Corruption, usize, Dataset)>,
    /// Training images that representations are compared on.
    pub compared: Vec<Example>,
}

impl Task {
    /// Reads the folders `train` and `test` of a task, with the warnings about their images.
    ///
    /// # Errors
    /// A folder is missing or holds no classes.
    pub fn load(
        session: &Session,
        dir: &Path,
        settings: &Settings,
        corrupt: bool,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Vec<Error>)> {
        let (train, mut warnings) =
            session.load_dataset(&dir.join("train"), None, Selection::All, on_progress)?;
        let classes = Some(&train.classes[..]);
        let most = settings.max_test.max(if corrupt { settings.max_corrupted } else { 0 });
        let selection = Selection::AtMost(most);
        let (test, bad) = session.load_dataset(&dir.join("test"), classes, selection, on_progress)?;
        warnings.extend(bad);
        warnings.extend(repeats(&train, Some(&test)));
        let corrupted = if corrupt { corrupted(&test.at_most(settings.max_corrupted))? } else { Vec::new() };
        let compared = train.compared(settings.cka_images).examples;
        Ok((Self { train, test: test.at_most(settings.max_test), corrupted, compared }, warnings))
    }

    /// Whether some training images are all that there are.
    pub fn is_all(&self, train: &Dataset) -> bool {
        train.examples.len() == self.train.examples.len()
    }

    /// The training images of a cell.
    pub fn draw(&self, cell: &Cell) -> Dataset {
        let classes = self.train.classes.len();
        match (cell.shots, cell.draw) {
            (Shots::Full, _) => self.train.clone(),
            (Shots::PerClass(shots), Draw::Even) => self.train.few_shot(&vec![shots; classes], cell.seed),
            (Shots::PerClass(shots), Draw::Uneven) => {
                self.train.few_shot(&uneven_shots(shots, classes, cell.seed), cell.seed)
            }
        }
    }
}

fn corrupted(test: &Dataset) -> Result<Vec<(Corruption, usize, Dataset)>> {
    let corrupt =
        |(kind, strength): (Corruption, usize)| Ok((kind, strength, kind.apply_to(strength, test)?));
    Corruption::all().into_iter().map(corrupt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Picture;

    fn task() -> Task {
        let example = |index: usize| Example {
            name: index.to_string(),
            class: index % 2,
            crop: Picture::filled(2, 2, [index as u8; 3]),
        };
        let classes = vec!["a".into(), "b".into()];
        let train = Dataset { name: "t".into(), classes, examples: (0..40).map(example).collect() };
        Task { test: train.at_most(7), train, corrupted: Vec::new(), compared: Vec::new() }
    }

    fn cell(shots: Shots, draw: Draw) -> Cell {
        Cell { task: "t".into(), shots, seed: 3, draw }
    }

    #[test]
    fn draws_are_nested_and_keep_their_totals() {
        let task = task();
        let few = task.draw(&cell(Shots::PerClass(2), Draw::Even)).examples;
        let more = task.draw(&cell(Shots::PerClass(5), Draw::Even)).examples;
        assert_eq!((few.len(), more.len()), (4, 10));
        assert!(few.iter().all(|example| more.contains(example)));
        let uneven = task.draw(&cell(Shots::PerClass(5), Draw::Uneven));
        let mut sizes = uneven.class_sizes();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 9]);
        assert_eq!(task.draw(&cell(Shots::Full, Draw::Even)).examples.len(), 40);
        assert_eq!(task.test.class_sizes(), [4, 3]);
    }
}
