//! The arithmetic of the comparison: paired intervals, ranks, wins, rank correlation, ratios of gains.

use rand::RngExt;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::random::{self, Purpose};

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Number of values.
    pub count: usize,
}

impl Interval {
    /// Student's t interval of the mean; `None` for fewer than two values.
    pub fn t(values: &[f64]) -> Option<Self> {
        Self::clustered(&values.iter().map(|value| vec![*value]).collect::<Vec<_>>())
    }

    /// The same of values that resemble each other inside clusters, at the extreme as copies: the cluster-robust error
    /// (Liang and Zeger, 1986) with G/(G - 1) for G clusters, and degrees of freedom one below the number of equal
    /// clusters that weigh as much, (Σn)²/Σn² for sizes n (Carter, Schnepel and Steigerwald, 2017). Where every cluster
    /// has one value this is Student's. `None` for fewer than two clusters.
    pub fn clustered(clusters: &[Vec<f64>]) -> Option<Self> {
        let values = clusters.concat();
        let (count, mean) = (values.len(), mean(&values)?);
        let groups = clusters.len() as f64;
        let residual = |own: &Vec<f64>| own.iter().map(|value| value - mean).sum::<f64>();
        let squares: f64 = clusters.iter().map(|own| residual(own).powi(2)).sum();
        let error = (squares * groups / (groups - 1.0)).sqrt() / count as f64;
        let sizes: f64 = clusters.iter().map(|own| (own.len() as f64).powi(2)).sum();
        let freedom = (count as f64).powi(2) / sizes - 1.0;
        // No degrees of freedom, no distribution.
        let half = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975) * error;
        Some(Self { mean, low: mean - half, high: mean + half, count })
    }

    /// Whether zero is inside or at an end.
    pub fn crosses_zero(&self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Wins, ties and losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Higher than the other.
    pub wins: usize,
    /// Equal.
    pub ties: usize,
    /// Lower.
    pub losses: usize,
}

impl Record {
    /// From differences; accuracies are counts over the same images, so that equal ones differ by rounding only.
    pub fn of(differences: &[f64]) -> Self {
        let mut record = Self::default();
        for difference in differences {
            match difference {
                d if d.abs() < 1e-9 => record.ties += 1,
                d if *d > 0.0 => record.wins += 1,
                _ => record.losses += 1,
            }
        }
        record
    }
}

/// Ranks from 1 for the highest value; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let above = values.iter().filter(|other| **other > value + 1e-9).count() as f64;
        let equal = values.iter().filter(|other| (*other - value).abs() <= 1e-9).count() as f64;
        above + (equal + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// Spearman's rank correlation; `None` when one side does not vary.
pub fn spearman(left: &[f64], right: &[f64]) -> Option<f64> {
    let (left, right) = (ranks(left), ranks(right));
    let (left_mean, right_mean) = (mean(&left)?, mean(&right)?);
    let product: f64 = left.iter().zip(&right).map(|(a, b)| (a - left_mean) * (b - right_mean)).sum();
    let squares = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let norm = (squares(&left, left_mean) * squares(&right, right_mean)).sqrt();
    (norm > 0.0).then(|| product / norm)
}

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// The ratio of two means over the same pairs, with the percentile bootstrap's interval over clusters of pairs.
///
/// `None` for fewer than two clusters, or where the denominator's mean is not above 0 in 97.5 % of the resamples.
pub fn ratio_of_means(clusters: &[Vec<(f64, f64)>]) -> Option<Interval> {
    let groups = clusters.len();
    let sum_of =
        |pairs: &[(f64, f64)]| pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let sums: Vec<(f64, f64)> = clusters.iter().map(|own| sum_of(own)).collect();
    let (above, below) = sum_of(&sums);
    if groups < 2 || below <= 0.0 {
        return None;
    }
    let mut rng = random::stream(0, Purpose::Bootstrap);
    let mut resample =
        || -> Vec<(f64, f64)> { (0..groups).map(|_| sums[rng.random_range(0..groups)]).collect() };
    let mut drawn: Vec<(f64, f64)> = (0..RESAMPLES).map(|_| sum_of(&resample())).collect();
    drawn.retain(|(_, below)| *below > 0.0);
    if (drawn.len() as f64) < 0.975 * RESAMPLES as f64 {
        return None;
    }
    let mut ratios: Vec<f64> = drawn.into_iter().map(|(above, below)| above / below).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part).round() as usize];
    let count = clusters.iter().map(Vec::len).sum();
    Some(Interval { mean: above / below, low: at(0.025), high: at(0.975), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    /// 3.2 ± t(0.975, 4) · √(3.7 / 5) with 2.776445 from a table.
    #[test]
    fn the_interval_is_students() {
        let interval = Interval::t(&[1.0, 2.0, 3.0, 4.0, 6.0]).expect("five values");
        close(interval.mean, 3.2);
        close(interval.low, 0.811_612);
        close(interval.high, 5.588_388);
        assert!(!interval.crosses_zero());
        assert!(Interval::t(&[-1.0, 2.0]).expect("two values").crosses_zero());
        assert_eq!(Interval::t(&[1.0]), None);
        assert_eq!(Interval::t(&[0.5, 0.5]).map(|same| (same.low, same.high)), Some((0.5, 0.5)));
    }

    #[test]
    fn copies_of_a_value_make_no_interval_narrower() {
        let plain = Interval::t(&[1.0, 2.0, 6.0]).expect("three values");
        let copied =
            Interval::clustered(&[vec![1.0; 5], vec![2.0; 5], vec![6.0; 5]]).expect("three clusters");
        close(copied.mean, plain.mean);
        close(copied.low, plain.low);
        assert_eq!((plain.count, copied.count), (3, 15));
        // By hand: mean 2, residuals -2, 4 and -2 in clusters -2 | 4 - 2 = 2, error √(2 · 8) / 3. The
        // sizes weigh as 9 / 5 equal clusters, and t(0.975, 0.8) = 23.327936
        let mixed = Interval::clustered(&[vec![0.0], vec![6.0, 0.0]]).expect("two clusters");
        close(mixed.high, 2.0 + 23.327_936 * 4.0 / 3.0);
        assert_eq!(Interval::clustered(&[vec![1.0, 2.0]]), None);
        assert_eq!(Interval::clustered(&[]), None);
    }

    #[test]
    fn equal_values_share_ranks_and_tie() {
        assert_eq!(ranks(&[0.5, 0.9, 0.5, 0.1]), [2.5, 1.0, 2.5, 4.0]);
        assert_eq!(Record::of(&[0.1, -0.2, 0.0, 1e-12, 3.0]), Record { wins: 2, ties: 2, losses: 1 });
    }

    /// 0.8208 is the textbook example of scipy.stats.spearmanr.
    #[test]
    fn the_rank_correlation_is_spearmans() {
        close(spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).expect("varies"), 0.820_783);
        close(spearman(&[1.0, 2.0, 3.0], &[9.0, 5.0, 1.0]).expect("varies"), -1.0);
        assert_eq!(spearman(&[1.0, 2.0], &[3.0, 3.0]), None);
    }

    #[test]
    fn a_share_of_a_gain_has_an_interval_only_where_there_is_a_gain() {
        let ratio_of_means =
            |pairs: &[(f64, f64)]| ratio_of_means(&pairs.iter().map(|pair| vec![*pair]).collect::<Vec<_>>());
        let half: Vec<(f64, f64)> = (1..=20).map(|i| (f64::from(i) / 2.0, f64::from(i))).collect();
        let share = ratio_of_means(&half).expect("a gain");
        assert_eq!((share.mean, share.low, share.high), (0.5, 0.5, 0.5));
        let noisy = ratio_of_means(&[(1.0, 2.0), (0.0, 1.0), (2.0, 3.0), (1.0, 1.0)]).expect("a gain");
        assert!(noisy.low < noisy.mean && noisy.mean < noisy.high);
        assert_eq!(ratio_of_means(&[(1.0, 5.0), (1.0, -4.0), (0.0, 0.1)]), None);
        assert_eq!(ratio_of_means(&[(1.0, 2.0)]), None);
    }
}
