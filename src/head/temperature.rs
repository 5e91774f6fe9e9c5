//! How sure a head may be: one number that its logits are divided by.

use super::{Head, softmax};

/// Nothing is made less sure than this; few images that are all wrong would ask for no end.
const HIGHEST: f32 = 30.0;

/// Halvings of the range that the temperature is in.
const STEPS: usize = 40;

/// The temperature of held-out logits `[n, C]`, at least 1.
///
/// Guo et al. (2017): `T` minimises the cross-entropy of `softmax(logits / T)`. With as few images as here that says little, so
/// `(ln T)²`, as much as a whole image, speaks for 1, and `T` is never below 1: a few images that are all right are no proof.
/// Chosen on upstream tasks (docs/experiment.md). 1 without images, and where a logit is not finite.
pub fn temperature(logits: &[f32], labels: &[usize]) -> f32 {
    let classes = logits.len() / labels.len().max(1);
    if classes == 0 || logits.iter().any(|logit| !logit.is_finite()) {
        return 1.0;
    }
    // Convex in the inverse, so that the sign of its slope says on which side the minimum is.
    let slope = |inverse: f32| {
        let images = logits.chunks(classes).zip(labels);
        let images: f32 = images.map(|(row, label)| slope_of(row, *label, inverse)).sum();
        images + 2.0 * inverse.ln() / inverse
    };
    let (mut low, mut high) = (HIGHEST.recip(), 1.0);
    if slope(high) <= 0.0 {
        return 1.0;
    }
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        if slope(middle) > 0.0 { high = middle } else { low = middle }
    }
    high.recip()
}

/// Derivative of one image's cross-entropy with respect to the inverse temperature.
fn slope_of(logits: &[f32], label: usize, inverse: f32) -> f32 {
    let scaled: Vec<f32> = logits.iter().map(|logit| inverse * logit).collect();
    let mean: f32 = softmax(&scaled).iter().zip(logits).map(|(share, logit)| share * logit).sum();
    mean - logits[label]
}

impl Head {
    /// The head whose logits are divided by a temperature: its answers are the same, and less sure.
    pub fn cooled(mut self, temperature: f32) -> Self {
        self.weight.iter_mut().chain(&mut self.bias).for_each(|value| *value /= temperature);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(logits: &[f32], labels: &[usize], temperature: f32) -> f32 {
        let image = |(row, label): (&[f32], &usize)| {
            -softmax(&row.iter().map(|logit| logit / temperature).collect::<Vec<_>>())[*label].ln()
        };
        logits.chunks(2).zip(labels).map(image).sum::<f32>() + temperature.ln().powi(2)
    }

    #[test]
    fn who_is_sure_and_wrong_is_made_less_sure() {
        // Right, right, wrong, each as sure.
        let (logits, labels) = ([8.0, 0.0, 0.0, 8.0, 8.0, 0.0], [0, 1, 1]);
        let found = temperature(&logits, &labels);
        assert!(found > 2.0 && found < HIGHEST, "{found}");
        for other in [0.9 * found, 1.1 * found] {
            assert!(loss(&logits, &labels, found) < loss(&logits, &labels, other), "{found} and not {other}");
        }
        // The more images say so, the more it counts.
        assert!(temperature(&logits.repeat(20), &labels.repeat(20)) > found);
    }

    #[test]
    fn nobody_is_made_more_sure_than_a_head_is() {
        for (logits, labels) in [(vec![0.1, 0.0], vec![0]), (vec![], vec![]), (vec![f32::NAN, 1.0], vec![1])]
        {
            assert_eq!(temperature(&logits, &labels), 1.0, "{logits:?}");
        }
        // Wrong without end.
        let worst = temperature(&[1e30, 0.0].repeat(9), &[1; 9]);
        assert!(worst <= HIGHEST * 1.001 && worst > 0.99 * HIGHEST, "{worst}");
    }

    #[test]
    fn a_cooled_head_has_the_same_answers() {
        let head = Head { features: 2, weight: vec![3.0, -1.0, 0.5, 2.0], bias: vec![0.2, -0.4] };
        let cooled = head.clone().cooled(4.0);
        for features in [[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]] {
            let both = head.logits(&features).into_iter().zip(cooled.logits(&features));
            both.for_each(|(own, other)| assert!((own / 4.0 - other).abs() < 1e-6));
            assert_eq!(head.predict(&features), cooled.predict(&features));
        }
    }
}
