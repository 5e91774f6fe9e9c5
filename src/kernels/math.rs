//! Vectorised elementwise parts. The compiler vectorises plain loops; `multiversion` compiles each for
//! several instruction sets and picks one when it runs.

use std::ops::Range;

use multiversion::multiversion;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting 1.5 * 2^23 rounds to an integer without a call that would stop vectorisation.
const ROUND: f32 = 12_582_912.0;

/// e^x with a relative error of about 1e-7; below -87 it is practically 0, above 88 it saturates.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * LOG2_E + ROUND) - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Taylor's polynomial, degree 7, on |r| <= ln 2 / 2.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// Cumulative and density of the standard normal distribution at x.
///
/// Abramowitz and Stegun (1964), 7.1.26: absolute error below 1.5e-7.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let gauss = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let tail = 0.5 * poly * gauss;
    let cumulative = if x < 0.0 { tail } else { 1.0 - tail };
    (cumulative, gauss * 0.398_942_3)
}

/// `out = gelu(x)`, the exact one.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn gelu(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x * normal(x).0;
    }
}

/// `out = gelu(x)` and `slope = gelu'(x)`, which share the costly part.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn gelu_and_slope(x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    for ((out, slope), &x) in out.iter_mut().zip(slope).zip(x) {
        let (cumulative, density) = normal(x);
        *out = x * cumulative;
        *slope = cumulative + x * density;
    }
}

/// Softmax of every row of `scale * values`, in place.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn softmax_rows(values: &mut [f32], columns: usize, scale: f32) {
    for row in values.chunks_exact_mut(columns) {
        let largest = lanes(row, f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
        for value in row.iter_mut() {
            *value = exp((*value - largest) * scale);
        }
        let share = 1.0 / lanes(row, 0.0, |a, b| a + b);
        row.iter_mut().for_each(|value| *value *= share);
    }
}

/// Gradient of softmax rows: `grad = scale * p * (grad - sum(grad * p))`, in place.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn softmax_backward_rows(p: &[f32], grad: &mut [f32], columns: usize, scale: f32) {
    for (p, grad) in p.chunks_exact(columns).zip(grad.chunks_exact_mut(columns)) {
        let mean = dot(p, grad);
        for (grad, &p) in grad.iter_mut().zip(p) {
            *grad = scale * p * (*grad - mean);
        }
    }
}

/// Layer norm of every row: `out = (x - mean) / std * weight + bias`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn layer_norm_rows(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        let (mean, inverse) = moments(x, epsilon);
        for (((out, &x), &weight), &bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = (x - mean) * inverse * weight + bias;
        }
    }
}

/// Gradient of layer norm. Adds to `grad_x`, and to `grad_weight` and `grad_bias`.
///
/// With y = (x - mean) / std and g = grad * weight: `dx = (g - mean(g) - y mean(g y)) / std`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn layer_norm_backward_rows(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
    grad_bias: &mut [f32],
) {
    let width = weight.len();
    let mut scaled = vec![0.0; width];
    let mut unit = vec![0.0; width];
    for ((x, grad), grad_x) in
        x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(grad_x.chunks_exact_mut(width))
    {
        let (mean, inverse) = moments(x, epsilon);
        for i in 0..width {
            unit[i] = (x[i] - mean) * inverse;
            scaled[i] = grad[i] * weight[i];
            grad_weight[i] += grad[i] * unit[i];
            grad_bias[i] += grad[i];
        }
        let mean_g = lanes(&scaled, 0.0, |a, b| a + b) / width as f32;
        let mean_gy = dot(&scaled, &unit) / width as f32;
        for i in 0..width {
            grad_x[i] += (scaled[i] - mean_g - unit[i] * mean_gy) * inverse;
        }
    }
}

/// Adds some columns of every row of `x` to those of `sums`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx512bw+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_rows(x: &[f32], columns: Range<usize>, sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        let sums = &mut sums[columns.clone()];
        sums.iter_mut().zip(&row[columns.clone()]).for_each(|(sum, value)| *sum += value);
    }
}

/// Mean and 1 / sqrt(variance + epsilon), in two passes.
#[inline(always)]
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = lanes(x, 0.0, |a, b| a + b) / count;
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let centered = chunk[lane] - mean;
            sums[lane] += centered * centered;
        }
    }
    let rest: f32 = rest.iter().map(|value| (value - mean) * (value - mean)).sum();
    let variance = (sums.iter().sum::<f32>() + rest) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Independent partial results: a reduction in order could not be vectorised.
const LANES: usize = 32;

#[inline(always)]
fn lanes(x: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [start; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            partial[lane] = join(partial[lane], chunk[lane]);
        }
    }
    partial.iter().chain(rest).fold(start, |total, value| join(total, *value))
}

#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut partial = [0.0; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            partial[lane] += x[lane] * y[lane];
        }
    }
    partial.iter().sum::<f32>() + x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<f32> {
        (-400..=400).map(|step| step as f32 * 0.025).collect()
    }

    #[test]
    fn exp_has_single_precision() {
        for x in grid() {
            let exact = f64::from(x).exp();
            assert!(((f64::from(exp(x)) - exact) / exact).abs() < 4e-7, "{x}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
    }

    #[test]
    fn gelu_agrees_with_erf_and_its_derivative_with_differences() {
        let x = grid();
        let mut y = vec![0.0; x.len()];
        gelu(&x, &mut y);
        let [mut again, mut slope] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        gelu_and_slope(&x, &mut again, &mut slope);
        assert_eq!(y, again);
        for (index, &x) in x.iter().enumerate() {
            let exact = |x: f64| x * 0.5 * (1.0 + libm_erf(x * std::f64::consts::FRAC_1_SQRT_2));
            assert!((f64::from(y[index]) - exact(f64::from(x))).abs() < 2e-6, "{x}");
            let x = f64::from(x);
            let difference = (exact(x + 1e-4) - exact(x - 1e-4)) / 2e-4;
            assert!((f64::from(slope[index]) - difference).abs() < 2e-6, "{x}");
        }
    }

    /// erf by its Maclaurin series, or 1 where it is that to double precision.
    fn libm_erf(x: f64) -> f64 {
        if x.abs() > 4.2 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn softmax_rows_sum_to_one_and_ignore_a_shift() {
        let mut a: Vec<f32> = (0..70).map(|i| ((i * 37) % 23) as f32 * 0.3).collect();
        let mut b: Vec<f32> = a.iter().map(|value| value + 1000.0).collect();
        softmax_rows(&mut a, 35, 0.5);
        softmax_rows(&mut b, 35, 0.5);
        assert!(a.chunks(35).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
