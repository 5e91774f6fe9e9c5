//! One image back through a block.

use std::ops::Range;

use super::{
    forward::{Head, Saved, Weights},
    gradients::{Gradients, LayerSums, Needs, Wanted},
    math::{add_rows, gelu_and_slope, layer_norm_backward_rows, layer_norm_rows, softmax_backward_rows},
    matrix::{Matrix, Write, product},
};

/// Buffers reused from image to image.
pub struct Scratch {
    normed: Vec<f32>,
    wide: Vec<f32>,
    slope: Vec<f32>,
    grad_wide: Vec<f32>,
    grad_normed: Vec<f32>,
    grad_attended: Vec<f32>,
    grad_mixed: Vec<f32>,
    grad_qkv: Vec<f32>,
    scores: Vec<f32>,
    grad_scores: Vec<f32>,
    thin: Vec<f32>,
}

impl Scratch {
    /// Buffers for images of `tokens` tokens.
    pub fn new(tokens: usize, weights: &Weights, needs: &Needs) -> Self {
        let wanted = [&needs.qkv, &needs.proj, &needs.fc1, &needs.fc2];
        let rank = wanted.into_iter().map(Wanted::rank).max().unwrap_or(0);
        let all = |width: usize| vec![0.0; tokens * width];
        let asked = |width: usize| vec![0.0; weights.options.queries * width];
        let (dim, hidden) = (weights.dim, weights.hidden);
        Self {
            normed: all(dim),
            wide: asked(hidden),
            slope: asked(hidden),
            grad_wide: asked(hidden),
            grad_normed: all(dim),
            grad_attended: all(dim),
            grad_mixed: asked(dim),
            grad_qkv: all(3 * dim),
            scores: asked(tokens),
            grad_scores: asked(tokens),
            thin: all(rank),
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
    let Image { input, saved, .. } = image;
    feed_forward(image, weights, needs, scratch, sums);
    attention(saved, weights, needs, scratch, sums);
    let (epsilon, back) = (weights.options.epsilon, needs.input || needs.norm1);
    layer_norm_rows(input, weights.norm1[0], weights.norm1[1], epsilon, &mut scratch.normed);
    projections(weights, needs, back, scratch, sums);
    if back {
        let Scratch { grad_normed, grad_attended, .. } = scratch;
        let ([sum_weight, sum_bias], weight) = (&mut sums.norm1, weights.norm1[0]);
        layer_norm_backward_rows(input, weight, epsilon, grad_normed, grad_attended, sum_weight, sum_bias);
        grad_input.copy_from_slice(grad_attended);
    }
}

/// From the output's gradient to `grad_attended`, which is 0 for tokens without an output.
fn feed_forward(
    Image { grad, saved, .. }: Image,
    weights: &Weights,
    needs: &Needs,
    scratch: &mut Scratch,
    sums: &mut Gradients,
) {
    let Scratch { normed, wide, slope, grad_wide, grad_normed, grad_attended, thin, .. } = scratch;
    let (fc1, fc2) = (Layer::new(weights.fc1, &needs.fc1), Layer::new(weights.fc2, &needs.fc2));
    let (epsilon, [scale, shift]) = (weights.options.epsilon, weights.norm2);
    let (normed, grad_normed) = (&mut normed[..grad.len()], &mut grad_normed[..grad.len()]);
    gelu_and_slope(&saved.hidden, wide, slope);
    fc2.backward(wide, grad, thin, &mut sums.fc2, Some((grad_wide, Write::Replace)));
    grad_wide.iter_mut().zip(slope).for_each(|(grad, slope)| *grad *= *slope);
    layer_norm_rows(&saved.attended, scale, shift, epsilon, normed);
    fc1.backward(normed, grad_wide, thin, &mut sums.fc1, Some((grad_normed, Write::Replace)));
    let (asked, others) = grad_attended.split_at_mut(grad.len());
    asked.copy_from_slice(grad);
    others.fill(0.0);
    let [sum_weight, sum_bias] = &mut sums.norm2;
    layer_norm_backward_rows(&saved.attended, scale, epsilon, grad_normed, asked, sum_weight, sum_bias);
}

/// From `grad_attended` to `grad_qkv`, where the queries of tokens without an output stay 0.
fn attention(saved: &Saved, weights: &Weights, needs: &Needs, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { grad_attended, grad_mixed, grad_qkv, scores, grad_scores, thin, .. } = scratch;
    let (dim, head_dim, queries) = (weights.dim, weights.head_dim(), weights.options.queries);
    let tokens = saved.qkv.len() / (3 * dim);
    let grad_asked = &grad_attended[..queries * dim];
    let proj = Layer::new(weights.proj, &needs.proj);
    proj.backward(&saved.mixed, grad_asked, thin, &mut sums.proj, Some((grad_mixed, Write::Replace)));
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
fn projections(weights: &Weights, needs: &Needs, back: bool, scratch: &mut Scratch, sums: &mut Gradients) {
    let Scratch { normed, grad_qkv, grad_normed, thin, .. } = scratch;
    let (dim, queries) = (weights.dim, weights.options.queries);
    let mut part = |rows: usize, columns: Range<usize>, write: Write| {
        let (x, grad) = (&normed[..rows * dim], &grad_qkv[..rows * 3 * dim]);
        let grad_x = back.then_some((grad_normed.as_mut_slice(), write));
        let layer = Layer { columns, ..Layer::new(weights.qkv, &needs.qkv) };
        layer.backward(x, grad, thin, &mut sums.qkv, grad_x);
    };
    let tokens = normed.len() / dim;
    if queries == tokens {
        part(tokens, 0..3 * dim, Write::Replace);
    } else {
        part(tokens, dim..3 * dim, Write::Replace);
        part(queries, 0..dim, Write::Add);
    }
}

/// Some columns of a linear layer on the way back.
struct Layer<'a> {
    weight: &'a [f32],
    width: usize,
    columns: Range<usize>,
    wanted: &'a Wanted<'a>,
}

impl<'a> Layer<'a> {
    /// All columns.
    fn new([weight, bias]: [&'a [f32]; 2], wanted: &'a Wanted<'a>) -> Self {
        Self { weight, width: bias.len(), columns: 0..bias.len(), wanted }
    }

    /// Back through `y = x weight + bias`: adds to the sums, and gives the gradient of x if it is asked for.
    fn backward(
        &self,
        x: &[f32],
        grad: &[f32],
        thin: &mut [f32],
        sums: &mut LayerSums,
        grad_x: Option<(&mut [f32], Write)>,
    ) {
        let (inputs, rows) = (self.weight.len() / self.width, grad.len() / self.width);
        let start = self.columns.start;
        let of =
            |columns: &Range<usize>| Matrix::strided(&grad[columns.start..], rows, columns.len(), self.width);
        add_rows(grad, self.columns.clone(), &mut sums.bias);
        let x = Matrix::new(x, rows, inputs);
        if self.wanted.weight {
            product(&mut sums.weight[start..], self.width, x.transposed(), of(&self.columns), Write::Add);
        }
        for (factors, sums) in self.wanted.factors.iter().zip(&mut sums.factors) {
            if self.columns.contains(&factors.columns.start) {
                factors.add(x, of(&factors.columns), thin, sums);
            }
        }
        if let Some((grad_x, write)) = grad_x {
            let weight = Matrix::strided(&self.weight[start..], inputs, self.columns.len(), self.width);
            product(grad_x, inputs, of(&self.columns), weight.transposed(), write);
        }
    }
}
