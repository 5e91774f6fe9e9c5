//! Multinomial logistic regression by accelerated full-batch gradient descent.
//!
//! Nesterov's method (1983) from zero with the step 1/L, L a Lipschitz constant of the gradient. The iterates are the same in two
//! forms, and the smaller one is taken. With many images the weight itself is held, and every step multiplies the
//! features twice. With fewer images than features the weight is held as a combination of the images' features: the logits
//! follow from the images' inner products, computed once, and the gradient is the errors as they are.

use super::{Features, Head};
use crate::kernels::{
    math::softmax_rows,
    matrix::{Matrix, Write, product},
};

/// Steps of a fit, always as many: with a small penalty it may end before its minimum.
const STEPS: usize = 400;

/// What the coefficients combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Features: the coefficients are the weight.
    Features,
    /// Images: the weight is a sum of their features.
    Images,
}

/// Fits a head to features that are centred and have a mean squared length of 1.
pub(super) fn fit(features: &Features, classes: usize, l2: f32) -> Head {
    let form = if features.labels.len() < features.dim { Form::Images } else { Form::Features };
    fit_as(form, features, classes, l2)
}

fn fit_as(form: Form, features: &Features, classes: usize, l2: f32) -> Head {
    let (count, dim) = (features.labels.len(), features.dim);
    if count == 0 || classes == 0 {
        return Head::zeros(classes, dim);
    }
    let values = Matrix::new(&features.values, count, dim);
    let inner = match form {
        Form::Features => Vec::new(),
        Form::Images => inner_products(values),
    };
    let inputs = match form {
        Form::Features => values,
        Form::Images => Matrix::new(&inner, count, count),
    };
    let (coefficients, bias) = descend(form, inputs, &features.labels, classes, l2);
    let mut head = Head { bias, ..Head::zeros(classes, dim) };
    match form {
        Form::Features => head.weight = crate::matrix::transpose(&coefficients, dim, classes),
        Form::Images => {
            let coefficients = Matrix::new(&coefficients, count, classes).transposed();
            product(&mut head.weight, dim, coefficients, values, Write::Replace);
        }
    }
    head
}

/// Coefficients `[k, C]` and bias `[C]` for inputs `[n, k]`.
fn descend(form: Form, inputs: Matrix, labels: &[usize], classes: usize, l2: f32) -> (Vec<f32>, Vec<f32>) {
    let split = inputs.transposed().rows() * classes;
    // Softmax's Hessian is at most 1/2; inputs have mean squared length 1, plus 1 for the bias.
    let rate = 1.0 / (1.0 + l2);
    // The bias is the last row, so that momentum treats all alike.
    let mut now = vec![0.0; split + classes];
    let mut previous = now.clone();
    let mut errors = vec![0.0; labels.len() * classes];
    for step in 0..STEPS {
        let momentum = step as f32 / (step as f32 + 3.0);
        for (previous, now) in previous.iter_mut().zip(&now) {
            *previous = now + momentum * (now - *previous);
        }
        std::mem::swap(&mut now, &mut previous);
        let (coefficients, bias) = now.split_at_mut(split);
        errors.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(bias));
        product(
            &mut errors,
            classes,
            inputs,
            Matrix::new(coefficients, split / classes, classes),
            Write::Add,
        );
        softmax_rows(&mut errors, classes, 1.0);
        let share = -rate / labels.len() as f32;
        for (row, &label) in errors.chunks_exact_mut(classes).zip(labels) {
            row[label] -= 1.0;
            for (error, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *error *= share;
                *bias += *error;
            }
        }
        coefficients.iter_mut().for_each(|value| *value *= 1.0 - rate * l2);
        match form {
            Form::Images => coefficients.iter_mut().zip(&errors).for_each(|(value, error)| *value += error),
            Form::Features => {
                let errors = Matrix::new(&errors, labels.len(), classes);
                product(coefficients, classes, inputs.transposed(), errors, Write::Add);
            }
        }
    }
    let bias = now.split_off(split);
    (now, bias)
}

/// `values valuesᵀ`, `[n, n]`.
fn inner_products(values: Matrix) -> Vec<f32> {
    let mut products = vec![0.0; values.rows() * values.rows()];
    product(&mut products, values.rows(), values, values.transposed(), Write::Replace);
    products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        head::softmax,
        random::{Purpose, normal, stream},
    };

    const CLASSES: usize = 3;

    /// Noise of mean squared length 1.
    fn noise(count: usize, dim: usize) -> Features {
        let mut rng = stream(0, Purpose::Init);
        let values = (0..count * dim).map(|_| normal(&mut rng) / (dim as f32).sqrt()).collect();
        Features { dim, values, labels: (0..count).map(|index| index % CLASSES).collect() }
    }

    /// Gradient of the mean cross-entropy plus `l2 / 2 |weight|²`, written as the formula is.
    fn largest_gradient(head: &Head, features: &Features, l2: f32) -> f32 {
        let mut weight: Vec<f32> = head.weight.iter().map(|value| l2 * value).collect();
        let mut bias = vec![0.0; CLASSES];
        for (index, &label) in features.labels.iter().enumerate() {
            let probabilities = softmax(&head.logits(features.row(index)));
            for class in 0..CLASSES {
                let target = if class == label { 1.0 } else { 0.0 };
                let error = (probabilities[class] - target) / features.labels.len() as f32;
                bias[class] += error;
                for (feature, value) in features.row(index).iter().enumerate() {
                    weight[class * features.dim + feature] += error * value;
                }
            }
        }
        weight.iter().chain(&bias).fold(0.0, |largest, value| value.abs().max(largest))
    }

    #[test]
    fn both_forms_reach_a_stationary_point() {
        for (count, dim) in [(40, 8), (8, 40)] {
            let features = noise(count, dim);
            for form in [Form::Features, Form::Images] {
                let start = largest_gradient(&Head::zeros(CLASSES, dim), &features, 0.1);
                let end = largest_gradient(&fit_as(form, &features, CLASSES, 0.1), &features, 0.1);
                assert!(start > 1e-2 && end < 1e-5, "{form:?} {count} {dim}: {start} -> {end}");
            }
        }
    }

    #[test]
    fn both_forms_take_the_same_steps() {
        // So small a penalty that the fit ends before its minimum.
        for (count, dim) in [(30, 12), (12, 30)] {
            let features = noise(count, dim);
            let [weight, combined] =
                [Form::Features, Form::Images].map(|form| fit_as(form, &features, CLASSES, 1e-5));
            let pairs =
                weight.weight.iter().zip(&combined.weight).chain(weight.bias.iter().zip(&combined.bias));
            let largest = weight.weight.iter().fold(0.0f32, |largest, value| value.abs().max(largest));
            for (own, other) in pairs {
                assert!((own - other).abs() < 1e-3 * largest, "{count} {dim}: {own} {other}");
            }
        }
    }

    #[test]
    fn nothing_to_learn_from_gives_zeros() {
        let none = Features { dim: 2, values: Vec::new(), labels: Vec::new() };
        assert_eq!(fit(&none, 3, 0.1), Head::zeros(3, 2));
    }
}
