//! Pairs of (task, seed): their differences, and which of them learn from the same images, because every seed takes all
//! that a task has.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    plan::{Draw, Shots},
    results::Run,
    statistics::mean,
};

/// Accuracies by (task, seed).
pub type ByPair = BTreeMap<(String, u64), f64>;

/// Differences of the pairs that both have.
pub fn paired(own: &ByPair, other: &ByPair) -> ByPair {
    let difference = |(pair, value): (&(String, u64), &f64)| Some((pair.clone(), value - other.get(pair)?));
    own.iter().filter_map(difference).collect()
}

/// Values in clusters of one set of training images: a task's runs of all seeds where each of them takes all images.
pub fn by_set<T>(values: BTreeMap<(String, u64), T>, exhausted: &BTreeSet<String>) -> Vec<Vec<T>> {
    let mut sets: BTreeMap<(String, u64), Vec<T>> = BTreeMap::new();
    for ((task, seed), value) in values {
        let seed = if exhausted.contains(&task) { 0 } else { seed };
        sets.entry((task, seed)).or_default().push(value);
    }
    sets.into_values().collect()
}

/// Means over the seeds.
pub fn task_means(values: &ByPair) -> BTreeMap<String, f64> {
    let mut tasks: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((task, _), value) in values {
        tasks.entry(task.clone()).or_default().push(*value);
    }
    tasks.into_iter().filter_map(|(task, values)| Some((task, mean(&values)?))).collect()
}

/// Where classes have fewer images than were asked for. A task has as many classes as images at one shot, or the most
/// that another number of shots shows.
pub fn short(runs: &[Run]) -> Vec<(String, Shots, usize)> {
    let drawn = runs.iter().filter(|run| run.draw == Draw::Even).filter_map(|run| match run.shots {
        Shots::PerClass(shots) => Some((&run.task, shots, run.train_images)),
        Shots::Full => None,
    });
    let cells: BTreeSet<(&String, usize, usize)> = drawn.collect();
    let classes = |task: &String| {
        let own = cells.iter().filter(|(other, ..)| *other == task);
        own.map(|(_, shots, images)| images.div_ceil(*shots)).max().unwrap_or(0)
    };
    let is_short = |(task, shots, images): &(&String, usize, usize)| *images < shots * classes(task);
    let found = cells.iter().copied().filter(is_short);
    found.map(|(task, shots, images)| (task.clone(), Shots::PerClass(shots), images)).collect()
}

/// Tasks of which every seed takes all images at a number of shots: their runs learn from the same images.
///
/// Runs say it; of older ones with even classes, how many images a task has is known from runs on all of them, or else from
/// two numbers of shots that give as many.
pub fn exhausted(runs: &[Run], shots: Shots, draw: Draw) -> BTreeSet<String> {
    let own = || runs.iter().filter(|run| run.draw == draw);
    let cells: BTreeSet<(&String, usize, Shots)> =
        own().map(|run| (&run.task, run.train_images, run.shots)).collect();
    let mut said: BTreeMap<&String, bool> = BTreeMap::new();
    for (task, all) in
        own().filter(|run| run.shots == shots).filter_map(|run| Some((&run.task, run.took_all?)))
    {
        // Unequal classes are others for every seed, and may be all that there is for one of them.
        said.entry(task).and_modify(|every| *every &= all).or_insert(all);
    }
    let has_all = |(task, images, _): &(&String, usize, Shots)| {
        if let Some(all) = said.get(*task) {
            return *all;
        }
        // As many images, unequally, can be others.
        if draw != Draw::Even {
            return false;
        }
        let alike = || cells.iter().filter(|other| (other.0, other.1) == (*task, *images));
        alike().any(|other| other.2 == Shots::Full) || alike().count() > 1
    };
    let here = cells.iter().filter(|cell| cell.2 == shots);
    here.filter(|cell| has_all(cell)).map(|(task, ..)| (*task).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{experiment::results::tests::run, methods::registry::Method};

    fn of(task: &str, shots: Shots, train_images: usize) -> Run {
        Run { shots, train_images, ..run(task, 1, 0, Method::LinearProbe, 0.5) }
    }

    #[test]
    fn where_classes_have_fewer_images_than_asked_for_is_known() {
        let of = |task, shots, images| of(task, Shots::PerClass(shots), images);
        let runs = [of("a", 1, 3), of("a", 10, 30), of("a", 20, 30), of("b", 20, 40), of("c", 1, 2)];
        assert_eq!(short(&runs), [("a".to_string(), Shots::PerClass(20), 30)]);
    }

    #[test]
    fn where_every_seed_takes_all_images_is_known() {
        let few = Shots::PerClass(5);
        let many = Shots::PerClass(10);
        let more = Shots::PerClass(20);
        let runs = [
            of("a", few, 15),
            of("a", many, 30),
            of("a", Shots::Full, 30),
            of("b", few, 10),
            of("b", many, 20),
            of("b", Shots::Full, 21),
            of("c", few, 10),
            of("c", many, 20),
            of("c", more, 20),
        ];
        let of = |shots| exhausted(&runs, shots, Draw::Even).into_iter().collect::<Vec<_>>();
        assert_eq!(of(few), Vec::<String>::new());
        assert_eq!(of(many), ["a", "c"]);
        assert_eq!(of(more), ["c"]);
        assert_eq!(of(Shots::Full), ["a", "b"]);
        // What runs say counts, whatever else was run.
        for draw in [Draw::Even, Draw::Uneven] {
            let says = |task, all| Run { took_all: all, draw, ..self::of(task, more, 20) };
            let said = [says("a", Some(true)), says("b", Some(false))];
            assert_eq!(exhausted(&said, more, draw).into_iter().collect::<Vec<_>>(), ["a"]);
            let one = Run { seed: 1, ..says("b", Some(true)) };
            let in_turns = [[says("b", Some(false)), one.clone()], [one, says("b", Some(false))]];
            in_turns
                .iter()
                .for_each(|both| assert!(exhausted(both, more, draw).is_empty(), "of one seed alone"));
            let silent = [says("a", None), Run { shots: many, ..says("a", None) }];
            assert_eq!(exhausted(&silent, more, draw).len(), usize::from(draw == Draw::Even));
        }
    }
}
