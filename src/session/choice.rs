//! Which of several fixed weights held-out images prefer.

use super::config::AdaptConfig;
use crate::{
    dataset::folds,
    head::{Features, Head, class_sums::ClassSums, softmax},
};

/// The weights with the lowest mean loss. `losses` has one list per weights, of the same images in the same order; weights
/// that give no finite features have infinite losses.
pub(super) fn lowest(losses: &[Vec<f32>]) -> usize {
    let means: Vec<f32> = losses.iter().map(|own| mean(own)).collect();
    (0..means.len()).min_by(|a, b| means[*a].total_cmp(&means[*b])).unwrap_or(0)
}

/// The simplest weights that are not clearly worse than the best ones: those with the smallest `distance` among all whose
/// mean loss exceeds the lowest by at most one standard error of the paired difference.
///
/// The one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), 3.4.3: a few images cannot
/// tell close candidates apart, and their lowest loss leads to extremes.
pub(super) fn simplest(losses: &[Vec<f32>], distance: impl Fn(usize) -> f32) -> usize {
    let best = lowest(losses);
    (0..losses.len())
        .filter(|&index| index == best || within_one_error(&losses[index], &losses[best]))
        .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
        .unwrap_or(best)
}

fn within_one_error(own: &[f32], best: &[f32]) -> bool {
    let differences: Vec<f32> = own.iter().zip(best).map(|(own, best)| own - best).collect();
    let count = differences.len() as f32;
    let mean = mean(&differences);
    let variance =
        differences.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / (count - 1.0).max(1.0);
    mean <= (variance / count).sqrt()
}

/// Cross-entropy of every held-out row under a class-mean head that has not seen it, fold by fold; the training losses when
/// nothing can be held out.
pub(super) fn losses(features: &Features, classes: usize, config: &AdaptConfig) -> Vec<f32> {
    let folds = folds(&features.labels, config.head_folds, config.train.seed);
    let sums = ClassSums::new(features, classes);
    let row_loss = |head: &Head, index: usize| {
        -softmax(&head.logits(features.row(index)))[features.labels[index]].max(1e-12).ln()
    };
    if folds.is_empty() {
        let head = sums.head();
        return (0..features.labels.len()).map(|index| row_loss(&head, index)).collect();
    }
    let of_fold = |fold: Vec<usize>| -> Vec<f32> {
        let head = sums.head_without(features, &fold);
        fold.iter().map(|&index| row_loss(&head, index)).collect()
    };
    folds.into_iter().flat_map(of_fold).collect()
}

/// Mean of losses; 0 if there are none.
pub(super) fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: f32 = f32::INFINITY;

    #[test]
    fn the_lowest_mean_wins_and_broken_weights_never_do() {
        assert_eq!(lowest(&[vec![1.0, 2.0], vec![2.0, 0.5], vec![BROKEN]]), 1);
        assert_eq!(lowest(&[vec![BROKEN], vec![BROKEN]]), 0);
        assert_eq!(simplest(&[vec![BROKEN], vec![BROKEN]], |index| index as f32), 0);
        assert_eq!(simplest(&[vec![BROKEN], vec![2.0, 3.0]], |index| index as f32), 1);
    }

    #[test]
    fn what_cannot_be_told_from_the_best_and_is_simpler_is_chosen() {
        let first = |index: usize| index as f32;
        // Better by 0.1 on average, but worse on half of the images: no difference that counts.
        let unclear = [vec![1.0, 1.0, 1.0, 1.0], vec![0.5, 1.3, 0.5, 1.3]];
        assert_eq!((lowest(&unclear), simplest(&unclear, first)), (1, 0));
        // Better by 0.1 on every image.
        let clear = [vec![1.0, 1.0, 1.0, 1.0], vec![0.9, 0.9, 0.9, 0.9]];
        assert_eq!(simplest(&clear, first), 1);
    }
}
