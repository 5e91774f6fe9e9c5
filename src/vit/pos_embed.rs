//! Position embeddings at another input size: bicubic interpolation of the patch grid.

/// Cubic convolution coefficient of PyTorch's `interpolate(mode="bicubic")`.
const A: f64 = -0.75;

/// Resizes position embeddings to another patch grid; prefix tokens are kept as they are.
///
/// Agrees with `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`, which
/// transformers uses: four taps, edge pixels repeated, no antialiasing.
///
/// # Shapes
/// - pos_embed: `[prefix + from.0 * from.1, dim]`, row-major
/// - output: `[prefix + to.0 * to.1, dim]`
pub fn interpolate(
    pos_embed: &[f32],
    prefix: usize,
    dim: usize,
    from: (usize, usize),
    to: (usize, usize),
) -> Vec<f32> {
    if from == to {
        return pos_embed.to_vec();
    }
    let mut output = pos_embed[..prefix * dim].to_vec();
    let grid = &pos_embed[prefix * dim..];
    let columns: Vec<_> = (0..to.1).map(|x| taps(x, from.1, to.1)).collect();
    for y in 0..to.0 {
        let rows = taps(y, from.0, to.0);
        for column in &columns {
            let start = output.len();
            output.resize(start + dim, 0.0);
            add_weighted(&mut output[start..], grid, &rows, column, from.1);
        }
    }
    output
}

/// Index and weight of the four source pixels of one target pixel along one axis.
type Taps = [(usize, f64); 4];

fn taps(target: usize, from: usize, to: usize) -> Taps {
    let center = (target as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let first = center.floor();
    let t = center - first;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    std::array::from_fn(|tap| {
        let index = first as i64 - 1 + tap as i64;
        (index.clamp(0, from as i64 - 1) as usize, weights[tap])
    })
}

/// Kernel for distances up to 1.
fn near(x: f64) -> f64 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// Kernel for distances from 1 to 2.
fn far(x: f64) -> f64 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}

fn add_weighted(output: &mut [f32], grid: &[f32], rows: &Taps, columns: &Taps, width: usize) {
    let dim = output.len();
    let mut sum = vec![0.0f64; dim];
    for &(row, row_weight) in rows {
        for &(column, column_weight) in columns {
            let start = (row * width + column) * dim;
            for (total, value) in sum.iter_mut().zip(&grid[start..start + dim]) {
                *total += row_weight * column_weight * f64::from(*value);
            }
        }
    }
    for (value, total) in output.iter_mut().zip(sum) {
        *value = total as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_grid_stays_constant() {
        let grid: Vec<f32> = [9.0, 9.0].into_iter().chain([2.5; 2 * 9]).collect();
        let resized = interpolate(&grid, 1, 2, (3, 3), (5, 4));
        assert_eq!(resized.len(), 2 + 2 * 20);
        assert_eq!(resized[..2], [9.0, 9.0]);
        assert!(resized[2..].iter().all(|value| (value - 2.5).abs() < 1e-6));
    }

    /// `torch.nn.functional.interpolate(torch.arange(9.).view(1,1,3,3), (2,4), mode="bicubic")`.
    #[test]
    fn it_agrees_with_pytorch() {
        let grid: Vec<f32> = (0..9).map(|value| value as f32).collect();
        let expected = [
            0.502_441_4,
            1.104_003_9,
            2.044_433_6,
            2.645_996,
            5.354_004,
            5.955_566_4,
            6.895_996,
            7.497_558_6,
        ];
        let resized = interpolate(&grid, 0, 1, (3, 3), (2, 4));
        for (found, expected) in resized.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{resized:?}");
        }
    }
}
