//! What learned composition made of the modules: mean weights, how concentrated they are, and whether they follow CKA.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    pairs::exhausted,
    plan::{Draw, Shots},
    results::Run,
    statistics::{Interval, mean, spearman},
};
use crate::{methods::registry::Method, report::CoefficientReport};

/// The composition weights of `learned` on one task at one number of shots, means over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Composition {
    /// Name of the task.
    pub task: String,
    /// Images per class.
    pub shots: Shots,
    /// Number of seeds.
    pub seeds: usize,
    /// Weights by layer and module.
    pub weights: CoefficientReport,
    /// exp(entropy) of the mean weights over layers and seeds: N when all modules count equally, 1 when only one does.
    pub effective_modules: f64,
    /// The same of the weights of one layer in one run, its mean over layers and runs.
    pub effective_in_a_layer: f64,
    /// Points of (CKA with the task's own model, weight) by module.
    pub similarity: Vec<Similarity>,
    /// Whether all seeds learned from the same images.
    pub one_set: bool,
    /// Spearman's correlation of CKA and weight over the modules, one value per seed.
    pub correlations: Vec<f64>,
    /// How much higher that is than with the CKA of the other tasks, one value per seed: what is left of it if modules
    /// are not merely similar to every task.
    pub preferences: Vec<f64>,
}

/// A module's similarity to the task and its weight, means over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similarity {
    /// Name of the module.
    pub module: String,
    /// Linear CKA.
    pub cka: f64,
    /// Composition weight.
    pub weight: f64,
}

impl Composition {
    /// Every task at every number of shots that `learned` ran on.
    pub fn all(runs: &[Run]) -> Vec<Self> {
        let learned = |run: &&Run| run.method == Method::Learned && run.draw == Draw::Even;
        let cells: BTreeSet<(String, Shots)> =
            runs.iter().filter(learned).map(|run| (run.task.clone(), run.shots)).collect();
        cells.into_iter().filter_map(|(task, shots)| Self::of(runs, task, shots)).collect()
    }

    fn of(runs: &[Run], task: String, shots: Shots) -> Option<Self> {
        let here = |run: &&Run| run.task == task && run.shots == shots && run.draw == Draw::Even;
        let learned: Vec<&Run> =
            runs.iter().filter(here).filter(|run| run.method == Method::Learned).collect();
        let found: Vec<&CoefficientReport> =
            learned.iter().filter_map(|run| run.composition.as_ref()).collect();
        let weights = average(&found)?;
        let compared = |run: &&Run| run.shots == shots && run.draw == Draw::Even && !run.cka.is_empty();
        let mut similar: Vec<&Run> = runs.iter().filter(compared).collect();
        let reference = reference(&similar);
        similar.retain(|run| run.method == reference);
        let pairs: Vec<(Vec<f64>, Vec<f64>)> = learned
            .iter()
            .filter_map(|run| {
                let own = similar.iter().find(|other| other.task == task && other.seed == run.seed)?;
                pair(run.composition.as_ref()?, own)
            })
            .collect();
        let layers: Vec<f64> =
            found.iter().flat_map(|one| &one.weights).map(|layer| effective(layer)).collect();
        Some(Self {
            seeds: found.len(),
            effective_modules: effective(&weights.means),
            effective_in_a_layer: mean(&layers)?,
            similarity: similarity(&weights, &pairs),
            one_set: exhausted(runs, shots, Draw::Even).contains(&task),
            correlations: pairs.iter().filter_map(|(cka, weight)| spearman(cka, weight)).collect(),
            preferences: learned.iter().filter_map(|run| preference(run, &similar)).collect(),
            task,
            shots,
            weights,
        })
    }

    /// Modules by mean weight, largest first.
    pub fn ordered(&self) -> Vec<(&str, f32)> {
        let mut modules: Vec<(&str, f32)> =
            self.weights.modules.iter().map(String::as_str).zip(self.weights.means.iter().copied()).collect();
        modules.sort_by(|a, b| b.1.total_cmp(&a.1));
        modules
    }
}

/// The method that modules are compared with: a LoRA from scratch, or full fine-tuning where there is none.
fn reference(compared: &[&Run]) -> Method {
    let has_lora = compared.iter().any(|run| run.method == Method::Lora);
    if has_lora { Method::Lora } else { Method::Full }
}

/// CKA and mean weight of every module in one seed.
fn pair(weights: &CoefficientReport, run: &Run) -> Option<(Vec<f64>, Vec<f64>)> {
    let of = |name: &String| run.cka.iter().find(|one| one.module == *name).map(|one| f64::from(one.cka));
    let cka: Vec<f64> = weights.modules.iter().map(of).collect::<Option<_>>()?;
    Some((cka, weights.means.iter().map(|mean| f64::from(*mean)).collect()))
}

/// Rank correlation of a run's weights with the modules' CKA to its own task, less the mean of those with the CKA to the
/// other tasks at the same seed.
fn preference(learned: &Run, similar: &[&Run]) -> Option<f64> {
    let weights = learned.composition.as_ref()?;
    let with = |own_task: bool| {
        let wanted = |run: &&&Run| run.seed == learned.seed && (run.task == learned.task) == own_task;
        let of = |run: &&Run| {
            let (cka, weight) = pair(weights, run)?;
            spearman(&cka, &weight)
        };
        mean(&similar.iter().filter(wanted).filter_map(of).collect::<Vec<_>>())
    };
    Some(with(true)? - with(false)?)
}

fn similarity(weights: &CoefficientReport, pairs: &[(Vec<f64>, Vec<f64>)]) -> Vec<Similarity> {
    let point = |(index, module): (usize, &String)| {
        let cka = mean(&pairs.iter().map(|pair| pair.0[index]).collect::<Vec<_>>())?;
        let weight = mean(&pairs.iter().map(|pair| pair.1[index]).collect::<Vec<_>>())?;
        Some(Similarity { module: module.clone(), cka, weight })
    };
    weights.modules.iter().enumerate().filter_map(point).collect()
}

/// The mean of compositions of the same modules and layers.
fn average(found: &[&CoefficientReport]) -> Option<CoefficientReport> {
    let first = found.first()?;
    let cell = |row: usize, column: usize| {
        let values = found.iter().filter_map(|one| Some(*one.weights.get(row)?.get(column)?));
        values.sum::<f32>() / found.len() as f32
    };
    let row = |row: usize| (0..first.modules.len()).map(|column| cell(row, column)).collect();
    let weights = (0..first.groups.len()).map(row).collect();
    Some(CoefficientReport::new(first.modules.clone(), first.groups.clone(), weights))
}

fn effective(means: &[f32]) -> f64 {
    let entropy: f64 =
        means.iter().map(|weight| f64::from(*weight)).filter(|w| *w > 0.0).map(|w| -w * w.ln()).sum();
    entropy.exp()
}

/// Means over tasks and seeds at one number of shots: of the correlations, and of how much higher they are than with the
/// other tasks' CKA. Seeds that learn from the same images are one cluster.
pub fn correlation(compositions: &[Composition], shots: Shots) -> (Option<Interval>, Option<Interval>) {
    let own = || compositions.iter().filter(|one| one.shots == shots);
    let of = |values: fn(&Composition) -> &[f64]| {
        let apart = |value: &f64| vec![*value];
        let clusters = own().flat_map(|one| match one.one_set {
            true => vec![values(one).to_vec()],
            false => values(one).iter().map(apart).collect(),
        });
        Interval::clustered(&clusters.filter(|cluster| !cluster.is_empty()).collect::<Vec<_>>())
    };
    (of(|one| &one.correlations), of(|one| &one.preferences))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::results::{ModuleCka, tests::run};

    fn learned(seed: u64, weights: [f32; 3]) -> Run {
        let modules = ["x", "y", "z"].map(String::from).to_vec();
        let report = CoefficientReport::new(modules, vec!["blocks.0".into()], vec![weights.to_vec()]);
        Run { composition: Some(report), ..run("a", 5, seed, Method::Learned, 0.5) }
    }

    fn lora(seed: u64, cka: [f32; 3]) -> Run {
        let names = ["x", "y", "z"].into_iter().zip(cka);
        let cka = names.map(|(name, cka)| ModuleCka { module: name.into(), cka }).collect();
        Run { cka, ..run("a", 5, seed, Method::Lora, 0.5) }
    }

    #[test]
    fn weights_are_averaged_and_compared_with_cka() {
        let runs = [
            learned(0, [0.7, 0.2, 0.1]),
            learned(1, [0.5, 0.2, 0.3]),
            lora(0, [0.9, 0.5, 0.4]),
            lora(1, [0.9, 0.5, 0.4]),
        ];
        let found = Composition::all(&runs);
        let one = found.first().expect("one composition");
        assert_eq!((found.len(), one.seeds, one.ordered()[0].0), (1, 2, "x"));
        assert!((one.weights.means[0] - 0.6).abs() < 1e-6);
        assert_eq!(one.correlations, [1.0, 0.5]);
        assert!((one.similarity[2].weight - 0.2).abs() < 1e-6 && (one.similarity[2].cka - 0.4).abs() < 1e-6);
        assert!(
            (one.effective_in_a_layer - (effective(&[0.7, 0.2, 0.1]) + effective(&[0.5, 0.2, 0.3])) / 2.0)
                .abs()
                < 1e-6
        );
        let (own, preferred) = correlation(&found, Shots::PerClass(5));
        let copies =
            [Composition { one_set: true, ..one.clone() }, Composition { task: "b".into(), ..one.clone() }];
        let (clustered, _) = correlation(&copies, Shots::PerClass(5));
        let apart = correlation(&[one.clone(), copies[1].clone()], Shots::PerClass(5)).0;
        let width = |mean: Option<Interval>| mean.map(|mean| mean.high - mean.low).expect("an interval");
        assert!(width(clustered) > width(apart), "copies of one set are not independent");
        // There is no other task that modules could be as similar to.
        assert_eq!((own.map(|mean| mean.mean), preferred), (Some(0.75), None));
    }

    #[test]
    fn modules_that_are_similar_to_every_task_are_not_preferred() {
        let of = |task: &str, run: Run| Run { task: task.into(), ..run };
        let runs = |other: [f32; 3]| {
            let cka = |seed| [of("a", lora(seed, [0.9, 0.5, 0.4])), of("b", lora(seed, other))];
            (0..2)
                .flat_map(|seed| cka(seed).into_iter().chain([learned(seed, [0.7, 0.2, 0.1])]))
                .collect::<Vec<_>>()
        };
        let preferred = |other| Composition::all(&runs(other))[0].preferences.clone();
        assert_eq!(preferred([0.8, 0.6, 0.1]), [0.0, 0.0]);
        assert_eq!(preferred([0.1, 0.6, 0.8]), [2.0, 2.0]);
    }

    #[test]
    fn the_effective_number_counts_equal_modules() {
        assert!((effective(&[0.25; 4]) - 4.0).abs() < 1e-6);
        assert!((effective(&[1.0, 0.0]) - 1.0).abs() < 1e-9);
    }
}
