//! Accuracy on held-out training images: every fold is left out of everything a method learns from.

use super::{
    Session,
    adapt::{AdaptConfig, Flow, may_go_on},
    arm::Adapted,
};
use crate::{
    dataset::{Example, folds},
    error::Result,
    evaluate,
    head::{Features, Head, softmax},
    methods::registry::Method,
    report::Accuracy,
};

/// Held-out accuracy of a method.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut {
    /// With the head that the method trained.
    pub accuracy: Accuracy,
    /// With a head refitted on the final features.
    pub refitted: Accuracy,
    /// Number of folds.
    pub num_folds: usize,
}

impl Session {
    /// Estimates a method's accuracy by leaving folds out.
    ///
    /// A method that only fits a head on frozen features leaves out one image at a time (up to
    /// [`AdaptConfig::head_folds`] folds); one that chooses a scale or a module chooses again
    /// without each of these; one that trains, or searches, is run again without each of [`AdaptConfig::folds`]
    /// folds, because an estimate whose features have seen the image would flatter it. `None` when no class has two images, or when `folds` is 0.
    ///
    /// # Errors
    /// As [`Session::run_arm`].
    pub async fn held_out(
        &self,
        adapted: &Adapted,
        examples: &[Example],
        classes: usize,
        config: &AdaptConfig,
        on_fold: &mut dyn FnMut(usize) -> Flow,
    ) -> Result<Option<HeldOut>> {
        let method = adapted.method;
        if config.folds == 0 {
            return Ok(None);
        }
        if !method.is_trained()
            && !matches!(method, Method::UniformScaled | Method::BestModule | Method::LoraHub)
        {
            return Ok(head_only(method, &adapted.features, classes, config));
        }
        let labels: Vec<usize> = examples.iter().map(|example| example.class).collect();
        // The features of every choice are cached: as many folds as for methods that only fit a head.
        let frozen = matches!(method, Method::UniformScaled | Method::BestModule);
        let num_folds = if frozen { config.head_folds } else { config.folds };
        let folds = folds(&labels, num_folds, config.train.seed);
        let (mut hits, mut refitted_hits, mut total) = (0, 0, 0);
        for (index, fold) in folds.iter().enumerate() {
            if !may_go_on(|| on_fold(index)).await {
                return Ok(None);
            }
            let (held, rest) = split(examples, fold);
            let run = self.run_arm(method, &rest, classes, config, &mut |_| on_fold(index)).await?;
            // A run that was cut short says nothing about the method.
            if on_fold(index) == Flow::Stop {
                return Ok(None);
            }
            let features = self.adapted_features(&run, &held).await?;
            hits += evaluate::accuracy(&run.head, &features).correct;
            let refitted = Head::logistic(&run.features, classes, config.l2);
            refitted_hits += evaluate::accuracy(&refitted, &features).correct;
            total += held.len();
        }
        let accuracies = (Accuracy::new(hits, total), Accuracy::new(refitted_hits, total));
        let found = HeldOut { accuracy: accuracies.0, refitted: accuracies.1, num_folds: folds.len() };
        Ok((total > 0).then_some(found))
    }
}

fn split(examples: &[Example], fold: &[usize]) -> (Vec<Example>, Vec<Example>) {
    let (held, rest): (Vec<_>, Vec<_>) =
        examples.iter().enumerate().partition(|(index, _)| fold.contains(index));
    let own = |part: Vec<(usize, &Example)>| part.into_iter().map(|(_, example)| example.clone()).collect();
    (own(held), own(rest))
}

fn head_only(method: Method, features: &Features, classes: usize, config: &AdaptConfig) -> Option<HeldOut> {
    let folds = folds(&features.labels, config.head_folds, config.train.seed);
    let fit = |rest: &Features| config.fit_head(method, rest, classes);
    let (hits, total) = evaluate::held_out_hits(features, &folds, &fit);
    let accuracy = Accuracy::new(hits, total);
    (total > 0).then_some(HeldOut { accuracy, refitted: accuracy, num_folds: folds.len() })
}

/// Mean cross-entropy of held-out rows under a head fitted without them; the training loss when
/// nothing can be held out.
pub(super) fn loss(features: &Features, config: &AdaptConfig, fit: &dyn Fn(&Features) -> Head) -> f32 {
    let folds = folds(&features.labels, config.head_folds, config.train.seed);
    let row_loss = |head: &Head, index: usize| {
        -softmax(&head.logits(features.row(index)))[features.labels[index]].max(1e-12).ln()
    };
    let count = features.labels.len();
    let held: usize = folds.iter().map(Vec::len).sum();
    if held == 0 {
        let head = fit(features);
        return (0..count).map(|index| row_loss(&head, index)).sum::<f32>() / count.max(1) as f32;
    }
    let mut total = 0.0;
    for fold in &folds {
        let rest: Vec<usize> = (0..count).filter(|index| !fold.contains(index)).collect();
        let head = fit(&features.select(&rest));
        total += fold.iter().map(|&index| row_loss(&head, index)).sum::<f32>();
    }
    total / held as f32
}
