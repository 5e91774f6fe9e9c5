//! One image back through a block.

use super::{
    forward::{Head, Saved, Weights},
    math::{add_rows, gelu, gelu_backward, layer_norm_backward_rows, layer_norm_rows, softmax_backward_rows},
    matrix::{Matrix, Write, product},
};

/// Which gradients anybody asks for; those of norms and biases are cheap and always there.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Of the block's input.
    pub input: bool,
    /// Of the first norm's scale or shift.
    pub norm1: bool,
    /// Of query's, key's or value's weight.
    pub qkv: bool,
    /// Of the output projection's weight.
    pub proj: bool,
    /// Of the first feed-forward weight.
    pub fc1: bool,
    /// Of the second feed-forward weight.
    pub fc2: bool,
}

/// Sums over images, in the layout of [`Weights`]; a weight that nobody needs is empty.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Scale and shift.
    pub norm1: [Vec<f32>; 2],
    /// Weight and bias.
    pub qkv: [Vec<f32>; 2],
    /// Weight and bias.
    pub proj: [Vec<f32>; 2],
    /// Scale and shift.
    pub norm2: [Vec<f32>; 2],
    /// Weight and bias.
    pub fc1: [Vec<f32>; 2],
    /// Weight and bias.
    pub fc2: [Vec<f32>; 2],
}

impl Gradients {
    /// Zeros.
    pub fn new(weights: &Weights, needs: &Needs) -> Self {
        let pair = |like: [&[f32]; 2], needed: bool| {
            [vec![0.0; if needed { like[0].len() } else { 0 }], vec![0.0; like[1].len()]]
        };
        Self {
            norm1: pair(weights.norm1, true),
            qkv: pair(weights.qkv, needs.qkv),
            proj: pair(weights.proj, needs.proj),
            norm2: pair(weights.norm2, true),
            fc1: pair(weights.fc1, needs.fc1),
            fc2: pair(weights.fc2, needs.fc2),
        }
    }

    /// Adds another thread's sums.
    pub fn add(&mut self, other: &Self) {
        let own =
            [&mut self.norm1, &mut self.qkv, &mut self.proj, &mut self.norm2, &mut self.fc1, &mut self.fc2];
        let others = [&other.norm1, &other.qkv, &other.proj, &other.norm2, &other.fc1, &other.fc2];
        for (own, other) in own.into_iter().flatten().zip(others.into_iter().flatten()) {
            own.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// Buffers reused from image to image.
pub struct Scratch {
    normed: Vec<f32>,
    wide: Vec<f32>,
    grad_wide: Vec<f32>,
    grad_normed: Vec<f32>,
    grad_attended: Vec<f32>,
    grad_mixed: Vec<f32>,
    grad_qkv: Vec<f32>,
    scores: Vec<f32>,
    grad_scores: Vec<f32>,
}

impl Scratch {
    /// Buffers for images of `tokens` tokens.
    pub fn new(tokens: usize, weights: &Weights) -> Self {
        let zeros = |width: usize| vec![0.0; tokens * width];
        let (dim, hidden) = (weights.dim, weights.hidden);
        Self {
            normed: zeros(dim),
            wide: zeros(hidden),
            grad_wide: zeros(hidden),
            grad_normed: zeros(dim),
            grad_attended: zeros(dim),
            grad_mixed: zeros(dim),
            grad_qkv: zeros(3 * dim),
            scores: zeros(tokens),
            grad_scores: zeros(tokens),
        }
    }
}

/// One image on its way back.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The block's input, `[T, D]`.
    pub input: &'a [f32],
    /// Gradient of the block's output, `[T, D]`.
    pub grad: &'a [f32],
    /// What the forward pass kept.
    pub saved: &'a Saved,
}

/// Gradients of a block for one image: added to `sums`; `grad_input` is written where somebody asks for it.
///
/// # Shapes
/// - grad_input: `[T, D]`
pub fn backward(
    image: Image,
    weights: &Weights,
    needs: &Needs,
    scratch: &mut Scratch,
    sums: &mut Gradients,
    grad_input: &mut [f32],
) {
    let Image { input, grad, saved } = image;
    feed_forward(grad, weights, saved, scratch, sums);
    attention(weights, saved, scratch, sums);
    let epsilon = weights.options.epsilon;
    layer_norm_rows(input, weights.norm1[0], weights.norm1[1], epsilon, &mut scratch.normed);
    let Scratch { normed, grad_qkv, grad_normed, grad_attended, .. } = scratch;
    let back = needs.input || needs.norm1;
    let grad_normed_out = back.then_some(grad_normed.as_mut_slice());
    linear(normed, grad_qkv, weights.qkv, weights.dim, &mut sums.qkv, grad_normed_out);
    if back {
        let ([sum_weight, sum_bias], weight) = (&mut sums.norm1, weights.norm1[0]);
        layer_norm_backward_rows(input, weight, epsilon, grad_normed, grad_attended, sum_weight, sum_bias);
        grad_input.copy_from_slice(grad_attended);
    }
}

/// From the output's gradient to `grad_attended`.
fn feed_forward(grad: &[f32], weights: &Weights, saved: &Saved, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { normed, wide, grad_wide, grad_normed, grad_attended, .. } = scratch;
    let epsilon = weights.options.epsilon;
    gelu(&saved.hidden, wide);
    linear(wide, grad, weights.fc2, weights.hidden, &mut sums.fc2, Some(grad_wide));
    gelu_backward(&saved.hidden, grad_wide);
    layer_norm_rows(&saved.attended, weights.norm2[0], weights.norm2[1], epsilon, normed);
    linear(normed, grad_wide, weights.fc1, weights.dim, &mut sums.fc1, Some(grad_normed));
    grad_attended.copy_from_slice(grad);
    let [sum_weight, sum_bias] = &mut sums.norm2;
    let weight = weights.norm2[0];
    layer_norm_backward_rows(
        &saved.attended,
        weight,
        epsilon,
        grad_normed,
        grad_attended,
        sum_weight,
        sum_bias,
    );
}

/// From `grad_attended` to `grad_qkv`.
fn attention(weights: &Weights, saved: &Saved, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { grad_attended, grad_mixed, grad_qkv, scores, grad_scores, .. } = scratch;
    linear(&saved.mixed, grad_attended, weights.proj, weights.dim, &mut sums.proj, Some(grad_mixed));
    let (dim, head_dim) = (weights.dim, weights.head_dim());
    let tokens = saved.mixed.len() / dim;
    for head in 0..weights.options.num_heads {
        let own = Head { qkv: &saved.qkv, tokens, dim, head_dim, head };
        own.scores(weights.scale(), scores, false);
        let grad = Matrix::strided(&grad_mixed[head * head_dim..], tokens, head_dim, dim);
        product(grad_scores, tokens, grad, own.value().transposed(), Write::Replace, false);
        softmax_backward_rows(scores, grad_scores, tokens, weights.scale());
        let (p, ds) = (Matrix::new(scores, tokens, tokens), Matrix::new(grad_scores, tokens, tokens));
        let mut write = |part: usize, left: Matrix, right: Matrix| {
            let out = &mut grad_qkv[part * dim + head * head_dim..];
            product(out, 3 * dim, left, right, Write::Replace, false);
        };
        write(0, ds, own.key());
        write(1, ds.transposed(), own.query());
        write(2, p.transposed(), grad);
    }
}

/// Back through `y = x weight + bias`: adds to the sums, writes the gradient of x if it is asked for.
fn linear(
    x: &[f32],
    grad: &[f32],
    [weight, bias]: [&[f32]; 2],
    inputs: usize,
    [sum_weight, sum_bias]: &mut [Vec<f32>; 2],
    grad_x: Option<&mut [f32]>,
) {
    let outputs = bias.len();
    let rows = x.len() / inputs;
    let grad_matrix = Matrix::new(grad, rows, outputs);
    add_rows(grad, sum_bias);
    if !sum_weight.is_empty() {
        product(
            sum_weight,
            outputs,
            Matrix::new(x, rows, inputs).transposed(),
            grad_matrix,
            Write::Add,
            false,
        );
    }
    if let Some(grad_x) = grad_x {
        let weight = Matrix::new(weight, inputs, outputs).transposed();
        product(grad_x, inputs, grad_matrix, weight, Write::Replace, false);
    }
}
