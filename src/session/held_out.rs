//! Accuracy on held-out training images: every fold is left out of everything a method learns from.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};

use super::{
    Session,
    adapted::Adapted,
    arm::Arm,
    config::{AdaptConfig, Refit},
    progress::{Flow, OnProgress, Progress, may_go_on},
};
use crate::{
    dataset::{Dataset, Example, folds, labels},
    error::Result,
    evaluate,
    head::{Features, Head, argmax, temperature::temperature, views::Views},
    methods::registry::Method,
    report::Accuracy,
};

/// What a method says of the images of one fold, without having seen them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// Class of each image.
    pub labels: Vec<usize>,
    /// Logits of the head that the method trained, `[n, C]`.
    pub trained: Vec<f32>,
    /// Logits of a head refitted on the final features, `[n, C]`.
    pub refitted: Vec<f32>,
}

impl Fold {
    fn logits(&self, refitted: bool) -> &[f32] {
        if refitted { &self.refitted } else { &self.trained }
    }

    /// Right answers of one of the two heads.
    pub fn hits(&self, refitted: bool) -> usize {
        let rows = self.logits(refitted).chunks((self.trained.len() / self.labels.len().max(1)).max(1));
        rows.zip(&self.labels).filter(|(row, label)| argmax(row) == **label).count()
    }
}

/// Held-out answers of a method.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// Per fold.
    pub folds: Vec<Fold>,
}

impl HeldOut {
    /// The answers to all folds; `None` without folds.
    pub(super) fn of(folds: Vec<Fold>) -> Option<Self> {
        (!folds.is_empty()).then_some(Self { folds })
    }

    /// Whether held-out images do not prefer the trained head to a refitted one.
    pub fn prefers_refitted(&self) -> bool {
        prefer_refitted(self.folds.iter())
    }

    /// Accuracy of the procedure. Where held-out images choose the head, every fold is answered by the head that the
    /// other folds choose: an image that helped to choose would flatter the choice.
    pub fn accuracy(&self, refit: Refit) -> Accuracy {
        let chosen = |(index, fold): (usize, &Fold)| {
            let others = self.folds.iter().enumerate().filter(|(other, _)| *other != index);
            let refitted = match refit {
                Refit::Always => true,
                Refit::Never => false,
                Refit::HeldOut => prefer_refitted(others.map(|(_, fold)| fold)),
            };
            fold.hits(refitted)
        };
        let total = self.folds.iter().map(|fold| fold.labels.len()).sum();
        Accuracy::new(self.folds.iter().enumerate().map(chosen).sum(), total)
    }

    /// How much less sure one of the two heads has to be for its probabilities to be true of held-out images.
    pub fn temperature(&self, refitted: bool) -> f32 {
        let logits: Vec<f32> = self.folds.iter().flat_map(|fold| fold.logits(refitted)).copied().collect();
        let labels: Vec<usize> = self.folds.iter().flat_map(|fold| &fold.labels).copied().collect();
        temperature(&logits, &labels)
    }
}

fn prefer_refitted<'a>(folds: impl Iterator<Item = &'a Fold>) -> bool {
    let (refitted, trained) = folds
        .fold((0, 0), |(refitted, trained), fold| (refitted + fold.hits(true), trained + fold.hits(false)));
    refitted >= trained
}

impl AdaptConfig {
    /// The folds that are left out of some examples, the same ones for every method; none where none are asked for.
    pub(super) fn held_out(&self, examples: &[Example]) -> Vec<Vec<usize>> {
        match self.folds {
            0 => Vec::new(),
            most => folds(&labels(examples), most, self.train.seed),
        }
    }
}

impl Arm<'_> {
    /// Estimates the method's accuracy by leaving folds out of the examples that it has learned from.
    ///
    /// Every method leaves out the same [`AdaptConfig::folds`] folds: an estimate from more images than another one's is
    /// the higher one for that alone. A method that only fits a head fits it again without each fold, one that chooses a scale
    /// or a module chooses again, one that trains or searches is run again, because an estimate whose features have seen
    /// the image would flatter it. `None` when no class has two images, or when `folds` is 0.
    ///
    /// # Errors
    /// As [`Arm::run`].
    pub async fn held_out(
        &self,
        adapted: &Adapted,
        examples: &[Example],
        on_fold: &mut dyn FnMut(usize, usize) -> Flow,
    ) -> Result<Option<HeldOut>> {
        let method = self.method;
        let folds = self.config.held_out(examples);
        if folds.is_empty() {
            return Ok(None);
        }
        let chooses = matches!(method, Method::UniformScaled | Method::BestModule);
        if !method.is_trained() && !chooses && method != Method::LoraHub {
            return Ok(HeldOut::of(self.heads_without(&folds, &adapted.features)));
        }
        let mut candidates = Vec::new();
        for weights in self.candidates().into_iter().filter(|_| chooses) {
            if !may_go_on(|| on_fold(0, folds.len())).await {
                return Ok(None);
            }
            candidates.push(self.finite_features(weights, examples).await?);
        }
        let mut views = BTreeMap::new();
        let mut answered = Vec::with_capacity(folds.len());
        for (index, fold) in folds.iter().enumerate() {
            let mut ask = || on_fold(index, folds.len());
            if !may_go_on(&mut ask).await {
                return Ok(None);
            }
            let answer = match chooses {
                true => self.choose_without(fold, examples, &candidates, &mut views).await?,
                false => self.run_without(fold, examples, &mut ask).await?,
            };
            let Some(answer) = answer else { return Ok(None) };
            answered.push(answer);
        }
        Ok(HeldOut::of(answered))
    }

    /// Heads without each fold, on features that stay as they are.
    fn heads_without(&self, folds: &[Vec<usize>], features: &Views) -> Vec<Fold> {
        let Self { method, classes, config, .. } = *self;
        let fit = |rest: &Features| config.fit_head(method, rest, classes);
        let answer = |(fold, logits): (&Vec<usize>, Vec<f32>)| {
            let labels = features.asked().select(fold).labels;
            Fold { labels, trained: logits.clone(), refitted: logits }
        };
        folds.iter().zip(evaluate::held_out_logits(features, folds, &fit)).map(answer).collect()
    }

    /// Runs the method without a fold; `None` if it was stopped, which says nothing about the method.
    async fn run_without(
        &self,
        fold: &[usize],
        examples: &[Example],
        ask: &mut dyn FnMut() -> Flow,
    ) -> Result<Option<Fold>> {
        let (held, rest) = split(examples, fold);
        let run = self.run(&rest, &mut |_| ask()).await?;
        if ask() == Flow::Stop {
            return Ok(None);
        }
        let features = self.session.asked_features(&run, &held).await?;
        let trained = evaluate::logits(&run.head, &features);
        let head = Head::logistic(&run.features.all(), self.classes, self.config.l2);
        let refitted = evaluate::logits(&head, &features);
        Ok(Some(Fold { labels: features.labels, trained, refitted }))
    }

    /// Chooses among frozen weights without a fold, from features under each of them; `views` are those under weights that a fold
    /// has chosen before. `None` if no weights give finite features.
    async fn choose_without(
        &self,
        fold: &[usize],
        examples: &[Example],
        candidates: &[Option<Features>],
        views: &mut BTreeMap<usize, Views>,
    ) -> Result<Option<Fold>> {
        let rests: Vec<Option<Features>> =
            candidates.iter().map(|all| all.as_ref().map(|all| all.without(fold))).collect();
        let chosen = self.choose(&rests);
        if candidates[chosen].is_none() {
            return Ok(None);
        }
        let views = match views.entry(chosen) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let weights = self.candidates()[chosen];
                new.insert(self.session.frozen_views(weights, examples, self.config).await?)
            }
        };
        let head = self.config.fit_head(self.method, &views.without(fold), self.classes);
        let held = views.asked().select(fold);
        let logits = evaluate::logits(&head, &held);
        Ok(Some(Fold { labels: held.labels, trained: logits.clone(), refitted: logits }))
    }
}

impl Session {
    /// What a trained method says of one of the folds that [`Arm::held_out`] would leave out, for whoever runs them side by
    /// side; `None` if there is no such fold, or the run was stopped.
    ///
    /// # Errors
    /// As [`Arm::run`].
    pub async fn fold(
        &self,
        method: Method,
        index: usize,
        train: &Dataset,
        config: &AdaptConfig,
        on_progress: OnProgress<'_>,
    ) -> Result<Option<Fold>> {
        let folds = config.held_out(&train.examples);
        let Some(fold) = folds.get(index) else { return Ok(None) };
        let config = &config.for_images(&train.examples);
        let mut ask = || {
            let method = method.name().into();
            on_progress(Progress::Fold { method, fold: index, num_folds: folds.len() })
        };
        self.arm(method, train.classes.len(), config).run_without(fold, &train.examples, &mut ask).await
    }
}

fn split(examples: &[Example], fold: &[usize]) -> (Vec<Example>, Vec<Example>) {
    let (held, rest): (Vec<_>, Vec<_>) =
        examples.iter().enumerate().partition(|(index, _)| fold.contains(index));
    let own = |part: Vec<(usize, &Example)>| part.into_iter().map(|(_, example)| example.clone()).collect();
    (own(held), own(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_of_a_head_is_not_measured_on_what_chose_it() {
        // So many of four images of the first class are right.
        let logits = |right: usize| {
            (0..4).flat_map(|index| if index < right { [1.0, 0.0] } else { [0.0, 1.0] }).collect()
        };
        let fold = |trained, refitted| Fold {
            labels: vec![0; 4],
            trained: logits(trained),
            refitted: logits(refitted),
        };
        // Each fold prefers the head that the other one does not.
        let held = HeldOut { folds: vec![fold(3, 1), fold(0, 3)] };
        assert!(held.prefers_refitted());
        assert_eq!(held.accuracy(Refit::Never).correct, 3);
        assert_eq!(held.accuracy(Refit::Always).correct, 4);
        assert_eq!(held.accuracy(Refit::HeldOut).correct, 1);
        let alone = HeldOut { folds: vec![fold(2, 2)] };
        assert_eq!((alone.accuracy(Refit::HeldOut).correct, alone.accuracy(Refit::HeldOut).total), (2, 4));
    }
}
