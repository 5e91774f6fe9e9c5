//! One image back through a block.

use std::ops::Range;

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
        let all = |width: usize| vec![0.0; tokens * width];
        let asked = |width: usize| vec![0.0; weights.options.queries * width];
        let (dim, hidden) = (weights.dim, weights.hidden);
        Self {
            normed: all(dim),
            wide: asked(hidden),
            grad_wide: asked(hidden),
            grad_normed: all(dim),
            grad_attended: all(dim),
            grad_mixed: asked(dim),
            grad_qkv: all(3 * dim),
            scores: asked(tokens),
            grad_scores: asked(tokens),
        }
    }
}

/// One image on its way back.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The block's input, `[T, D]`.
    pub input: &'a [f32],
    /// Gradient of the block's output, `[Q, D]`.
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
    let (epsilon, back) = (weights.options.epsilon, needs.input || needs.norm1);
    layer_norm_rows(input, weights.norm1[0], weights.norm1[1], epsilon, &mut scratch.normed);
    projections(weights, back, scratch, sums);
    if back {
        let Scratch { grad_normed, grad_attended, .. } = scratch;
        let ([sum_weight, sum_bias], weight) = (&mut sums.norm1, weights.norm1[0]);
        layer_norm_backward_rows(input, weight, epsilon, grad_normed, grad_attended, sum_weight, sum_bias);
        grad_input.copy_from_slice(grad_attended);
    }
}

/// From the output's gradient to `grad_attended`, which is 0 for tokens without an output.
fn feed_forward(grad: &[f32], weights: &Weights, saved: &Saved, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { normed, wide, grad_wide, grad_normed, grad_attended, .. } = scratch;
    let (epsilon, [scale, shift]) = (weights.options.epsilon, weights.norm2);
    let (normed, grad_normed) = (&mut normed[..grad.len()], &mut grad_normed[..grad.len()]);
    gelu(&saved.hidden, wide);
    let every = 0..weights.dim;
    linear(wide, grad, weights.fc2, every, &mut sums.fc2, Some((grad_wide, Write::Replace)));
    gelu_backward(&saved.hidden, grad_wide);
    layer_norm_rows(&saved.attended, scale, shift, epsilon, normed);
    let every = 0..weights.hidden;
    linear(normed, grad_wide, weights.fc1, every, &mut sums.fc1, Some((grad_normed, Write::Replace)));
    let (asked, others) = grad_attended.split_at_mut(grad.len());
    asked.copy_from_slice(grad);
    others.fill(0.0);
    let [sum_weight, sum_bias] = &mut sums.norm2;
    layer_norm_backward_rows(&saved.attended, scale, epsilon, grad_normed, asked, sum_weight, sum_bias);
}

/// From `grad_attended` to `grad_qkv`, where the queries of tokens without an output stay 0.
fn attention(weights: &Weights, saved: &Saved, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { grad_attended, grad_mixed, grad_qkv, scores, grad_scores, .. } = scratch;
    let (dim, head_dim, queries) = (weights.dim, weights.head_dim(), weights.options.queries);
    let tokens = saved.qkv.len() / (3 * dim);
    let grad_asked = &grad_attended[..queries * dim];
    linear(
        &saved.mixed,
        grad_asked,
        weights.proj,
        0..dim,
        &mut sums.proj,
        Some((grad_mixed, Write::Replace)),
    );
    for head in 0..weights.options.num_heads {
        let own = Head::new(&saved.qkv, 0..queries, weights, head);
        own.scores(weights.scale(), scores);
        let grad = Matrix::strided(&grad_mixed[head * head_dim..], queries, head_dim, dim);
        product(grad_scores, tokens, grad, own.value().transposed(), Write::Replace);
        softmax_backward_rows(scores, grad_scores, tokens, weights.scale());
        let (p, ds) = (Matrix::new(scores, queries, tokens), Matrix::new(grad_scores, queries, tokens));
        let mut write = |part: usize, left: Matrix, right: Matrix| {
            let out = &mut grad_qkv[part * dim + head * head_dim..];
            product(out, 3 * dim, left, right, Write::Replace);
        };
        write(0, ds, own.key());
        write(1, ds.transposed(), own.query());
        write(2, p.transposed(), grad);
    }
}

/// From `grad_qkv` to `grad_normed` if somebody asks for it.
fn projections(weights: &Weights, back: bool, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { normed, grad_qkv, grad_normed, .. } = scratch;
    let (dim, queries) = (weights.dim, weights.options.queries);
    let mut part = |rows: usize, columns: Range<usize>, write: Write| {
        let (x, grad) = (&normed[..rows * dim], &grad_qkv[..rows * 3 * dim]);
        let grad_x = back.then_some((grad_normed.as_mut_slice(), write));
        linear(x, grad, weights.qkv, columns, &mut sums.qkv, grad_x);
    };
    let tokens = normed.len() / dim;
    if queries == tokens {
        part(tokens, 0..3 * dim, Write::Replace);
    } else {
        part(tokens, dim..3 * dim, Write::Replace);
        part(queries, 0..dim, Write::Add);
    }
}

/// Back through some columns of `y = x weight + bias`: adds to the sums, and gives the gradient of x if it is asked for.
fn linear(
    x: &[f32],
    grad: &[f32],
    [weight, bias]: [&[f32]; 2],
    columns: Range<usize>,
    [sum_weight, sum_bias]: &mut [Vec<f32>; 2],
    grad_x: Option<(&mut [f32], Write)>,
) {
    let width = bias.len();
    let (inputs, rows) = (weight.len() / width, grad.len() / width);
    let start = columns.start;
    add_rows(grad, columns.clone(), sum_bias);
    let grad = Matrix::strided(&grad[start..], rows, columns.len(), width);
    if !sum_weight.is_empty() {
        let x = Matrix::new(x, rows, inputs).transposed();
        product(&mut sum_weight[start..], width, x, grad, Write::Add);
    }
    if let Some((grad_x, write)) = grad_x {
        let weight = Matrix::strided(&weight[start..], inputs, columns.len(), width).transposed();
        product(grad_x, inputs, grad, weight, write);
    }
}
