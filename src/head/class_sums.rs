//! Class-mean heads, also without some of the rows, for the price of those rows.

use super::{Features, Head};

/// How far apart the class means of [`Head::nearest_mean`] put the logits: a feature that lies on a
/// class mean at average distance from the centre gets a margin of this size.
const MEAN_HEAD_SCALE: f64 = 10.0;

/// Sums of features by class. In double precision, so that taking rows out again loses nothing.
#[derive(Clone, Debug)]
pub struct ClassSums {
    dim: usize,
    /// `[C, F]`.
    sums: Vec<f64>,
    /// Rows of every class.
    counts: Vec<usize>,
}

impl ClassSums {
    /// The sums of all rows.
    pub fn new(features: &Features, classes: usize) -> Self {
        let mut sums =
            Self { dim: features.dim, sums: vec![0.0; classes * features.dim], counts: vec![0; classes] };
        (0..features.labels.len()).for_each(|index| sums.change(features, index, 1.0));
        sums
    }

    /// [`Head::nearest_mean`] of all rows but some, which must be among those that were summed.
    pub fn head_without(&self, features: &Features, rows: &[usize]) -> Head {
        let mut rest = self.clone();
        rows.iter().for_each(|&index| rest.change(features, index, -1.0));
        rest.head()
    }

    /// [`Head::nearest_mean`] of the rows.
    pub fn head(&self) -> Head {
        let center = self.center();
        let mut weight = Vec::with_capacity(self.sums.len());
        for (row, &count) in self.sums.chunks(self.dim).zip(&self.counts) {
            let from_center = |(sum, center): (&f64, &f64)| sum / count as f64 - center;
            match count {
                0 => weight.extend(std::iter::repeat_n(0.0, self.dim)),
                _ => weight.extend(row.iter().zip(&center).map(from_center)),
            }
        }
        let spread = dot(&weight, &weight) / self.counts.len() as f64;
        let scale = MEAN_HEAD_SCALE / spread.max(1e-12);
        let bias = |row: &[f64]| -scale * (0.5 * dot(row, row) + dot(row, &center));
        Head {
            features: self.dim,
            bias: weight.chunks(self.dim).map(|row| bias(row) as f32).collect(),
            weight: weight.iter().map(|value| (scale * value) as f32).collect(),
        }
    }

    /// Mean of all rows, `[F]`.
    fn center(&self) -> Vec<f64> {
        let count = self.counts.iter().sum::<usize>().max(1) as f64;
        let mut center = vec![0.0; self.dim];
        for row in self.sums.chunks(self.dim) {
            center.iter_mut().zip(row).for_each(|(center, value)| *center += value / count);
        }
        center
    }

    fn change(&mut self, features: &Features, index: usize, sign: f64) {
        let label = features.labels[index];
        let sums = &mut self.sums[label * self.dim..(label + 1) * self.dim];
        sums.iter_mut().zip(features.row(index)).for_each(|(sum, value)| *sum += sign * f64::from(*value));
        if sign > 0.0 { self.counts[label] += 1 } else { self.counts[label] -= 1 }
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_without_rows_is_that_of_the_others() {
        let values: Vec<f32> = (0..60).map(|index| (index as f32 * 1.7).sin() * 3.0).collect();
        let features = Features { dim: 5, values, labels: (0..12).map(|index| index * index % 4).collect() };
        let sums = ClassSums::new(&features, 4);
        for without in [vec![], vec![3], vec![0, 1, 7], vec![2, 6, 10]] {
            let rest: Vec<usize> = (0..12).filter(|index| !without.contains(index)).collect();
            let (found, anew) =
                (sums.head_without(&features, &without), Head::nearest_mean(&features.select(&rest), 4));
            let both = found.weight.iter().zip(&anew.weight).chain(found.bias.iter().zip(&anew.bias));
            both.for_each(|(found, anew)| {
                assert!((found - anew).abs() < 1e-4, "{without:?}: {found} {anew}")
            });
        }
    }
}
