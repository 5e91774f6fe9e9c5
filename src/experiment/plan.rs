//! The cells of the grid, and which of them a shard takes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Training images per class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Shots {
    /// So many.
    PerClass(usize),
    /// All that there are.
    Full,
}

impl fmt::Display for Shots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerClass(count) => write!(formatter, "{count}"),
            Self::Full => formatter.write_str("full"),
        }
    }
}

impl FromStr for Shots {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            _ if text == "full" => Ok(Self::Full),
            Ok(count) if count > 0 => Ok(Self::PerClass(count)),
            _ => Err(format!("{text} is not a number of images above 0, or `full`")),
        }
    }
}

impl Shots {
    /// As a person says it.
    pub fn words(self) -> String {
        match self {
            Self::PerClass(1) => "1 shot".into(),
            Self::PerClass(count) => format!("{count} shots"),
            Self::Full => "all images".into(),
        }
    }
}

impl From<Shots> for String {
    fn from(shots: Shots) -> Self {
        shots.to_string()
    }
}

impl TryFrom<String> for Shots {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

/// How the training images of a run differ from the plain draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// The same number of images of every class.
    #[default]
    Even,
    /// As many images in all, but unequally many per class: label shift.
    Uneven,
}

impl Draw {
    /// What is said of it after the number of shots.
    pub fn words(self) -> &'static str {
        match self {
            Self::Even => "",
            Self::Uneven => ", uneven classes",
        }
    }
}

/// One draw of training images; all methods run on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Name of the task.
    pub task: String,
    /// Images per class.
    pub shots: Shots,
    /// Seed of the draw, the order and initial values.
    pub seed: u64,
    /// How the images are drawn.
    pub draw: Draw,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Images per class.
    pub shots: Vec<Shots>,
    /// Number of seeds; they count from 0.
    pub seeds: u64,
    /// Images per class of the runs with unequal classes; `None` without label shift.
    pub uneven: Option<Shots>,
}

impl Plan {
    /// All cells, task by task and number of shots by number of shots; one that is named twice is one.
    pub fn cells(&self) -> Vec<Cell> {
        let mut draws = Vec::new();
        for shots in &self.shots {
            if !draws.contains(&(*shots, Draw::Even)) {
                draws.push((*shots, Draw::Even));
            }
        }
        draws.extend(self.uneven.map(|shots| (shots, Draw::Uneven)));
        let cells = self.tasks.iter().flat_map(|task| {
            draws.iter().flat_map(move |(shots, draw)| {
                let cell = |seed| Cell { task: task.clone(), shots: *shots, seed, draw: *draw };
                (0..self.seeds).map(cell)
            })
        });
        cells.collect()
    }
}

/// A part of the grid: every `count`-th cell, from the `index`-th on (counted from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 1.
    pub index: usize,
    /// How many parts.
    pub count: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(format!("{text} is not i/n with i between 1 and n")),
        }
    }
}

impl Shard {
    /// The cells of this part. Seeds of one draw are neighbours, so that slow cells spread over the parts.
    pub fn take(self, cells: Vec<Cell>) -> Vec<Cell> {
        cells.into_iter().skip(self.index - 1).step_by(self.count).collect()
    }

    /// Name of the part's file of results.
    pub fn file_name(self) -> String {
        match self.count {
            1 => "results.jsonl".into(),
            count => format!("results-{}-of-{count}.jsonl", self.index),
        }
    }
}

/// Names of task folders.
///
/// # Errors
/// Two folders of the same name, which results could not be told apart by.
pub fn task_names(dirs: &[std::path::PathBuf]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for dir in dirs {
        let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if names.contains(&name) {
            return Err(Error::mismatch("--tasks", format!("two folders are called {name}; rename one")));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan() -> Plan {
        Plan {
            tasks: vec!["a".into(), "b".into(), "c".into()],
            shots: vec![Shots::PerClass(1), Shots::PerClass(5), Shots::Full],
            seeds: 5,
            uneven: Some(Shots::PerClass(5)),
        }
    }

    #[test]
    fn every_cell_is_in_exactly_one_shard() {
        let all: Vec<Cell> = plan().cells();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3 * 4 * 5);
        let twice = Plan { shots: [plan().shots, plan().shots].concat(), ..plan() };
        assert_eq!(twice.cells(), all);
        for count in [1, 2, 5, 7, 60, 100] {
            let mut taken: Vec<Cell> =
                (1..=count).flat_map(|index| Shard { index, count }.take(plan().cells())).collect();
            taken.sort();
            let mut sorted = all.clone();
            sorted.sort();
            assert_eq!(taken, sorted, "{count} shards");
        }
    }

    #[test]
    fn what_is_typed_is_read_or_refused() {
        assert_eq!("full".parse(), Ok(Shots::Full));
        assert_eq!("20".parse(), Ok(Shots::PerClass(20)));
        assert!("0".parse::<Shots>().is_err() && "five".parse::<Shots>().is_err());
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        assert_eq!(Shard { index: 2, count: 3 }.file_name(), "results-2-of-3.jsonl");
        assert_eq!(Shard::default().file_name(), "results.jsonl");
        assert!(Shots::PerClass(20) < Shots::Full && Shots::PerClass(2) < Shots::PerClass(10));
    }

    #[test]
    fn tasks_are_told_apart_by_their_folders_names() {
        let names = |dirs: &[&str]| task_names(&dirs.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(names(&["x/birds", "y/fish/"]).expect("two names"), ["birds", "fish"]);
        assert!(names(&["x/birds", "y/birds"]).is_err());
    }
}
