//! What the runs say together: means, paired differences, ranks and records, by number of shots.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    pairs::{ByPair, by_set, exhausted, paired, short, task_means},
    plan::{Draw, Shots},
    results::Run,
    shifts::Corruption,
    statistics::{Interval, Record, mean, ranks, ratio_of_means},
    weights::Composition,
};
use crate::methods::registry::Method;

/// What methods are compared with, pair by pair.
pub const REFERENCES: [Method; 5] =
    [Method::LinearProbe, Method::Lora, Method::Full, Method::Uniform, Method::Learned];

/// One method at one number of shots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The method.
    pub method: Method,
    /// Number of runs.
    pub runs: usize,
    /// Number of (task, seed) that other methods have and this one has not.
    pub missing: usize,
    /// Mean test accuracy.
    pub accuracy: f64,
    /// Paired differences from [`REFERENCES`] that were run.
    pub differences: Vec<Difference>,
    /// Mean rank over the (task, seed) that every method with runs at these shots has.
    pub rank: Option<f64>,
    /// Mean number of trained values.
    pub trainable_parameters: f64,
    /// Mean seconds of training.
    pub seconds: f64,
}

/// One method against another one, on the pairs of (task, seed) that both have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The other method.
    pub from: Method,
    /// Difference of accuracies over the pairs, those of the same training images in one cluster; `None` for fewer than
    /// two sets of training images.
    pub over_pairs: Option<Interval>,
    /// The same over the tasks' means.
    pub over_tasks: Option<Interval>,
    /// Wins, ties and losses; pairs of the same training images count once, by their mean.
    pub record: Record,
}

impl Difference {
    fn new(own: &ByPair, other: &ByPair, from: Method, exhausted: &BTreeSet<String>) -> Self {
        let differences = paired(own, other);
        let tasks: Vec<f64> = task_means(&differences).into_values().collect();
        let sets = by_set(differences, exhausted);
        let means: Vec<f64> = sets.iter().filter_map(|own| mean(own)).collect();
        Self {
            from,
            over_pairs: Interval::clustered(&sets),
            over_tasks: Interval::t(&tasks),
            record: Record::of(&means),
        }
    }
}

impl Row {
    /// The comparison with another method, if both have pairs.
    pub fn against(&self, other: Method) -> Option<&Difference> {
        self.differences.iter().find(|difference| difference.from == other)
    }

    /// Paired difference from another method over (task, seed).
    pub fn over(&self, other: Method) -> Option<Interval> {
        self.against(other)?.over_pairs
    }
}

/// All methods at one number of shots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    /// Images per class.
    pub shots: Shots,
    /// How the training images were drawn.
    pub draw: Draw,
    /// Pairs of (task, seed) that every method of the rows has.
    pub complete_pairs: usize,
    /// Pairs that any method has.
    pub pairs: usize,
    /// The methods, in the registry's order.
    pub rows: Vec<Row>,
    /// Share of the gain of `learned` over `linear-probe` that random modules of the same norm reach; `None` where the
    /// gain's interval holds zero.
    pub random_share: Option<Interval>,
    /// Mean accuracy by task and method.
    pub tasks: BTreeMap<String, Vec<(Method, f64)>>,
}

/// Accuracy on corrupted test images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorruptedRow {
    /// The method.
    pub method: Method,
    /// Number of runs.
    pub runs: usize,
    /// What was done to the images, how strongly, mean accuracy and its paired difference from `linear-probe`.
    pub accuracies: Vec<(Corruption, usize, f64, Option<Interval>)>,
}

/// What the runs of a folder say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Last part of the model's name.
    pub model: String,
    /// Hash of the settings, as the runs have it.
    pub settings: String,
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Number of seeds.
    pub seeds: usize,
    /// The methods, in the registry's order.
    pub methods: Vec<Method>,
    /// Number of runs.
    pub runs: usize,
    /// Hours of training and testing in all.
    pub hours: f64,
    /// Tasks whose classes have fewer images than some number of shots, with it and the images that there are.
    pub short: Vec<(String, Shots, usize)>,
    /// Smallest and largest number of test images of a task.
    pub test_images: (usize, usize),
    /// Plain runs and those with unequal classes, by number of shots.
    pub blocks: Vec<Block>,
    /// Corrupted test images, by number of shots: means over several would compare unequal things.
    pub corrupted: Vec<(Shots, Vec<CorruptedRow>)>,
    /// What `learned` made of the modules, task by task.
    pub compositions: Vec<Composition>,
}

impl Summary {
    /// Sums runs up.
    pub fn new(runs: &[Run]) -> Self {
        let tasks: BTreeSet<&String> = runs.iter().map(|run| &run.task).collect();
        let seeds: BTreeSet<u64> = runs.iter().map(|run| run.seed).collect();
        let has = |method: &Method| runs.iter().any(|run| run.method == *method);
        let methods: Vec<Method> = Method::ALL.into_iter().filter(has).collect();
        let blocks: BTreeSet<(Draw, Shots)> = runs.iter().map(|run| (run.draw, run.shots)).collect();
        let images = || runs.iter().map(|run| run.test_images);
        let corrupted = runs.iter().filter(|run| !run.corrupted.is_empty()).map(|run| run.shots);
        let corrupted: BTreeSet<Shots> = corrupted.collect();
        let corrupted_rows =
            |shots| methods.iter().filter_map(|method| corrupted_row(runs, *method, shots)).collect();
        Self {
            model: runs.first().map(|run| run.model.clone()).unwrap_or_default(),
            settings: runs.first().map(|run| run.settings.clone()).unwrap_or_default(),
            tasks: tasks.into_iter().cloned().collect(),
            seeds: seeds.len(),
            runs: runs.len(),
            hours: runs.iter().map(|run| run.seconds + run.test_seconds).sum::<f64>() / 3600.0,
            short: short(runs),
            test_images: (images().min().unwrap_or(0), images().max().unwrap_or(0)),
            blocks: blocks.into_iter().map(|at| block(runs, &methods, at)).collect(),
            corrupted: corrupted.into_iter().map(|shots| (shots, corrupted_rows(shots))).collect(),
            compositions: Composition::all(runs),
            methods,
        }
    }

    /// The plain runs by number of shots.
    pub fn plain(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.draw == Draw::Even)
    }
}

impl Block {
    /// The row of a method.
    pub fn row(&self, method: Method) -> Option<&Row> {
        self.rows.iter().find(|row| row.method == method)
    }
}

fn block(runs: &[Run], methods: &[Method], (draw, shots): (Draw, Shots)) -> Block {
    let own: Vec<&Run> = runs.iter().filter(|run| (run.draw, run.shots) == (draw, shots)).collect();
    let accuracies: BTreeMap<Method, ByPair> = methods.iter().map(|m| (*m, by_pair(&own, *m))).collect();
    let pairs: BTreeSet<&(String, u64)> = accuracies.values().flat_map(BTreeMap::keys).collect();
    let present: Vec<&ByPair> = accuracies.values().filter(|own| !own.is_empty()).collect();
    let complete: Vec<&(String, u64)> =
        pairs.iter().copied().filter(|pair| present.iter().all(|own| own.contains_key(*pair))).collect();
    let ranks = mean_ranks(&accuracies, &complete);
    let exhausted = exhausted(runs, shots, draw);
    let mut rows: Vec<Row> =
        methods.iter().filter_map(|method| row(&own, &accuracies, &ranks, &exhausted, *method)).collect();
    rows.iter_mut().for_each(|row| row.missing = pairs.len() - row.runs);
    Block {
        shots,
        draw,
        complete_pairs: complete.len(),
        pairs: pairs.len(),
        rows,
        random_share: random_share(&accuracies, &exhausted),
        tasks: by_task(&accuracies),
    }
}

fn by_pair(runs: &[&Run], method: Method) -> ByPair {
    let own = runs.iter().filter(|run| run.method == method);
    own.map(|run| ((run.task.clone(), run.seed), run.test_accuracy)).collect()
}

fn row(
    runs: &[&Run],
    accuracies: &BTreeMap<Method, ByPair>,
    ranks: &BTreeMap<Method, f64>,
    exhausted: &BTreeSet<String>,
    method: Method,
) -> Option<Row> {
    let own = &accuracies[&method];
    let average = |value: &dyn Fn(&Run) -> f64| {
        let values: Vec<f64> = runs.iter().filter(|run| run.method == method).map(|run| value(run)).collect();
        mean(&values)
    };
    let against = |from: Method| {
        let other = accuracies.get(&from).filter(|other| from != method && !other.is_empty());
        Some(Difference::new(own, other?, from, exhausted))
    };
    Some(Row {
        method,
        runs: own.len(),
        missing: 0,
        accuracy: average(&|run| run.test_accuracy)?,
        differences: REFERENCES.into_iter().filter_map(against).collect(),
        rank: ranks.get(&method).copied(),
        trainable_parameters: average(&|run| run.trainable_parameters as f64)?,
        seconds: average(&|run| run.seconds)?,
    })
}

fn mean_ranks(accuracies: &BTreeMap<Method, ByPair>, complete: &[&(String, u64)]) -> BTreeMap<Method, f64> {
    let present: Vec<(&Method, &ByPair)> = accuracies.iter().filter(|(_, own)| !own.is_empty()).collect();
    let mut sums = vec![0.0; present.len()];
    for pair in complete {
        let values: Vec<f64> = present.iter().map(|(_, own)| own[*pair]).collect();
        sums.iter_mut().zip(ranks(&values)).for_each(|(sum, rank)| *sum += rank);
    }
    if complete.is_empty() {
        return BTreeMap::new();
    }
    let average = |sum: f64| sum / complete.len() as f64;
    present.iter().zip(sums).map(|((method, _), sum)| (**method, average(sum))).collect()
}

fn random_share(accuracies: &BTreeMap<Method, ByPair>, exhausted: &BTreeSet<String>) -> Option<Interval> {
    let probe = accuracies.get(&Method::LinearProbe)?;
    let learned = paired(accuracies.get(&Method::Learned)?, probe);
    let random = paired(accuracies.get(&Method::RandomModules)?, probe);
    let pair = |(pair, random): (_, f64)| Some((learned.get(&pair).copied()?, pair, random));
    let pairs = random.into_iter().filter_map(pair);
    let both: BTreeMap<_, _> = pairs.map(|(gain, pair, random)| (pair, (random, gain))).collect();
    // A share of a gain that may be none means nothing.
    let gains: ByPair = both.iter().map(|(pair, (_, gain))| (pair.clone(), *gain)).collect();
    Interval::clustered(&by_set(gains, exhausted)).filter(|gain| gain.low > 0.0)?;
    ratio_of_means(&by_set(both, exhausted))
}

fn by_task(accuracies: &BTreeMap<Method, ByPair>) -> BTreeMap<String, Vec<(Method, f64)>> {
    let mut tasks: BTreeMap<String, Vec<(Method, f64)>> = BTreeMap::new();
    for method in Method::ALL {
        for (task, value) in accuracies.get(&method).map(task_means).unwrap_or_default() {
            tasks.entry(task).or_default().push((method, value));
        }
    }
    tasks
}

fn corrupted_row(runs: &[Run], method: Method, shots: Shots) -> Option<CorruptedRow> {
    let of = |method: Method, kind: Corruption, strength: usize| -> ByPair {
        let own = runs.iter().filter(|run| run.method == method && run.shots == shots);
        let found = own.filter_map(|run| {
            let one = run.corrupted.iter().find(|one| (one.kind, one.strength) == (kind, strength))?;
            Some(((run.task.clone(), run.seed), one.test_accuracy))
        });
        found.collect()
    };
    let exhausted = exhausted(runs, shots, Draw::Even);
    let accuracy = |(kind, strength): (Corruption, usize)| {
        let own = of(method, kind, strength);
        let average = mean(&own.values().copied().collect::<Vec<_>>())?;
        let differences = paired(&own, &of(Method::LinearProbe, kind, strength));
        let gain = Interval::clustered(&by_set(differences, &exhausted));
        Some((kind, strength, average, gain.filter(|_| method != Method::LinearProbe)))
    };
    let accuracies: Vec<_> = Corruption::all().into_iter().filter_map(accuracy).collect();
    let tested = |run: &&Run| run.method == method && run.shots == shots && !run.corrupted.is_empty();
    let count = runs.iter().filter(tested).count();
    (!accuracies.is_empty()).then_some(CorruptedRow { method, runs: count, accuracies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::results::{Corrupted, tests::run};

    fn runs() -> Vec<Run> {
        let mut runs = Vec::new();
        for (task, shift) in [("a", 0.0), ("b", 0.2)] {
            for seed in 0..2 {
                let base = 0.4 + shift + seed as f64 * 0.1;
                runs.push(run(task, 5, seed, Method::LinearProbe, base));
                runs.push(run(task, 5, seed, Method::Learned, base + 0.2));
                runs.push(run(task, 5, seed, Method::RandomModules, base + 0.05));
                runs.push(run(task, 5, seed, Method::Lora, base + 0.1 - 0.2 * seed as f64));
            }
        }
        runs
    }

    #[test]
    fn differences_are_paired_by_task_and_seed() {
        let summary = Summary::new(&runs());
        let block = summary.plain().next().expect("a block");
        assert_eq!((block.complete_pairs, block.pairs), (4, 4));
        let learned = block.row(Method::Learned).expect("learned");
        let gain = learned.over(Method::LinearProbe).expect("four pairs");
        assert!((gain.mean - 0.2).abs() < 1e-9 && (gain.high - gain.low) < 1e-6, "{gain:?}");
        assert_eq!(learned.rank, Some(1.0));
        let record = |row: &Row| row.against(Method::LinearProbe).map(|difference| difference.record);
        assert_eq!(record(learned), Some(Record { wins: 4, ties: 0, losses: 0 }));
        let lora = block.row(Method::Lora).expect("lora");
        assert!(lora.over(Method::LinearProbe).expect("four pairs").crosses_zero());
        assert_eq!(record(lora), Some(Record { wins: 2, ties: 0, losses: 2 }));
        assert_eq!(lora.over(Method::Lora), None);
        // Between the tasks' means, too, the difference is the same.
        let over_tasks = learned.against(Method::LinearProbe).and_then(|difference| difference.over_tasks);
        assert_eq!(over_tasks.map(|tasks| (tasks.count, (tasks.mean * 100.0).round())), Some((2, 20.0)));
        let share = block.random_share.expect("a gain");
        assert!((share.mean - 0.25).abs() < 1e-9, "{share:?}");
    }

    #[test]
    fn runs_on_the_same_images_count_once() {
        let gains = [("a", 0.2), ("b", 0.3), ("c", 0.4)];
        let blur = |accuracy| Corrupted {
            kind: Corruption::Blur,
            strength: 1,
            test_accuracy: accuracy,
            test_images: 4,
        };
        let of = |(task, gain): &(&str, f64), seed| {
            let full = |method, accuracy| Run {
                shots: Shots::Full,
                corrupted: vec![blur(accuracy)],
                ..run(task, 5, seed, method, accuracy)
            };
            let learned =
                [full(Method::Learned, 0.3 + gain), full(Method::RandomModules, 0.3 + 0.5 * gain * gain)];
            [full(Method::LinearProbe, 0.3)].into_iter().chain(learned)
        };
        let summary = |seeds| {
            let runs = gains.iter().flat_map(|task| (0..seeds).flat_map(|seed| of(task, seed)));
            Summary::new(&runs.collect::<Vec<_>>())
        };
        let said = |summary: &Summary| {
            let block = summary.plain().next().expect("a block");
            let learned = block.row(Method::Learned).and_then(|row| row.against(Method::LinearProbe));
            let difference = learned.expect("a difference");
            assert_eq!(difference.record.wins, 3);
            let blurred = summary.corrupted[0].1[1].accuracies[0].3;
            let ends =
                [difference.over_pairs, blurred, block.random_share].map(|own| own.expect("three sets"));
            ends.map(|own| [own.low, own.high].map(|end| (end * 1e6).round()))
        };
        assert_eq!(said(&summary(1)), said(&summary(5)));
    }

    #[test]
    fn corrupted_images_are_summed_up_for_every_number_of_shots() {
        let corrupted =
            vec![Corrupted { kind: Corruption::Blur, strength: 1, test_accuracy: 0.25, test_images: 4 }];
        let of = |shots| Run { corrupted: corrupted.clone(), ..run("a", shots, 0, Method::LinearProbe, 0.5) };
        let summary = Summary::new(&[of(5), of(1), run("a", 2, 0, Method::LinearProbe, 0.5)]);
        let shots: Vec<Shots> = summary.corrupted.iter().map(|(shots, _)| *shots).collect();
        assert_eq!(shots, [1, 5].map(Shots::PerClass));
    }

    #[test]
    fn what_is_missing_is_left_out_of_pairs_and_ranks() {
        let mut runs = runs();
        runs.retain(|run| run.method != Method::Lora || (run.task == "a" && run.seed == 0));
        let summary = Summary::new(&runs);
        let block = summary.plain().next().expect("a block");
        assert_eq!((block.complete_pairs, block.pairs), (1, 4));
        assert_eq!(block.row(Method::Lora).expect("lora").over(Method::LinearProbe), None);
        let learned = block.row(Method::Learned).expect("learned").over(Method::LinearProbe);
        assert_eq!(learned.map(|gain| gain.count), Some(4));
    }
}
