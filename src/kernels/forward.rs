//! One image, or a part of its tokens, through a block.
//!
//! Attention is where tokens meet: [`project`] makes query, key and value of some tokens, and [`attend`] takes some
//! tokens from there to the block's output. So threads can share one image, and a block whose output is wanted for
//! its first tokens only (`queries` of them) does little more for the others than keys and values.

use std::ops::Range;

use super::{
    BlockOptions,
    math::{gelu, layer_norm_rows, softmax_rows},
    matrix::{Matrix, Write, product},
};

/// The weights of a block as slices; query, key and value side by side.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// Width of a token, D.
    pub dim: usize,
    /// Hidden width of the feed-forward part, M.
    pub hidden: usize,
    /// Scale and shift, `[D]`.
    pub norm1: [&'a [f32]; 2],
    /// `[D, 3 D]` and `[3 D]`.
    pub qkv: [&'a [f32]; 2],
    /// `[D, D]` and `[D]`.
    pub proj: [&'a [f32]; 2],
    /// Scale and shift, `[D]`.
    pub norm2: [&'a [f32]; 2],
    /// `[D, M]` and `[M]`.
    pub fc1: [&'a [f32]; 2],
    /// `[M, D]` and `[D]`.
    pub fc2: [&'a [f32]; 2],
    /// Heads and epsilon.
    pub options: BlockOptions,
}

impl Weights<'_> {
    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.options.num_heads
    }

    /// Factor on the scores.
    pub fn scale(&self) -> f32 {
        (self.head_dim() as f32).powf(-0.5)
    }
}

/// What the backward pass needs of one image of T tokens, the first Q of which have an output.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Query, key and value, `[T, 3 D]`; past the first Q tokens the query is 0.
    pub qkv: Vec<f32>,
    /// Attention's mixture before the output projection, `[Q, D]`.
    pub mixed: Vec<f32>,
    /// Tokens after the attention branch, `[Q, D]`.
    pub attended: Vec<f32>,
    /// Before GELU, `[Q, M]`.
    pub hidden: Vec<f32>,
}

impl Saved {
    /// Buffers for one image.
    pub fn new(tokens: usize, weights: &Weights) -> Self {
        let queries = weights.options.queries;
        Self {
            qkv: vec![0.0; tokens * 3 * weights.dim],
            mixed: vec![0.0; queries * weights.dim],
            attended: vec![0.0; queries * weights.dim],
            hidden: vec![0.0; queries * weights.hidden],
        }
    }
}

/// Buffers that nobody needs afterwards, reused from image to image.
pub struct Scratch {
    normed: Vec<f32>,
    scores: Vec<f32>,
    activated: Vec<f32>,
}

impl Scratch {
    /// Buffers for up to `rows` tokens at a time of images of `tokens` tokens.
    pub fn new(rows: usize, tokens: usize, weights: &Weights) -> Self {
        let zeros = |width: usize| vec![0.0; rows * width];
        Self { normed: zeros(weights.dim), scores: zeros(tokens), activated: zeros(weights.hidden) }
    }
}

/// `out = input + proj(attention(norm1(input)))`, then the feed-forward branch on top, for a whole image.
///
/// # Shapes
/// - input: `[T, D]`
/// - out: `[Q, D]`
pub fn forward(input: &[f32], weights: &Weights, saved: &mut Saved, scratch: &mut Scratch, out: &mut [f32]) {
    project(input, weights.options.queries, weights, scratch, &mut saved.qkv);
    let Saved { qkv, mixed, attended, hidden } = saved;
    attend(
        Part { first: 0, input: &input[..out.len()], qkv, mixed, attended, hidden, out },
        weights,
        scratch,
    );
}

/// Query, key and value of `norm1(input)`; the query of the first `queries` of these tokens only.
///
/// # Shapes
/// - input: `[R, D]`, some tokens of an image
/// - qkv: `[R, 3 D]`
pub fn project(input: &[f32], queries: usize, weights: &Weights, scratch: &mut Scratch, qkv: &mut [f32]) {
    let dim = weights.dim;
    let rows = input.len() / dim;
    let normed = &mut scratch.normed[..input.len()];
    layer_norm_rows(input, weights.norm1[0], weights.norm1[1], weights.options.epsilon, normed);
    if queries == rows {
        linear(normed, weights.qkv, 0..3 * dim, qkv);
    } else {
        linear(&normed[..queries * dim], weights.qkv, 0..dim, qkv);
        linear(normed, weights.qkv, dim..3 * dim, qkv);
    }
}

/// Some tokens of an image on their way from query, key and value to the block's output.
pub struct Part<'a> {
    /// Which token of the image is the first of these R.
    pub first: usize,
    /// Their input, `[R, D]`.
    pub input: &'a [f32],
    /// The whole image's query, key and value, `[T, 3 D]`.
    pub qkv: &'a [f32],
    /// To be written, as in [`Saved`], `[R, D]`.
    pub mixed: &'a mut [f32],
    /// To be written, as in [`Saved`], `[R, D]`.
    pub attended: &'a mut [f32],
    /// To be written, as in [`Saved`], `[R, M]`.
    pub hidden: &'a mut [f32],
    /// The block's output, `[R, D]`.
    pub out: &'a mut [f32],
}

/// Attention over all tokens of the image, and everything after it.
pub fn attend(part: Part, weights: &Weights, scratch: &mut Scratch) {
    let (dim, rows) = (weights.dim, part.input.len() / weights.dim);
    let tokens = part.qkv.len() / (3 * dim);
    let scores = &mut scratch.scores[..rows * tokens];
    for head in 0..weights.options.num_heads {
        let own = Head::new(part.qkv, part.first..part.first + rows, weights, head);
        own.scores(weights.scale(), scores);
        let mixed = &mut part.mixed[head * weights.head_dim()..];
        product(mixed, dim, Matrix::new(scores, rows, tokens), own.value(), Write::Replace);
    }
    let (normed, activated) =
        (&mut scratch.normed[..rows * dim], &mut scratch.activated[..rows * weights.hidden]);
    residual(part.input, part.mixed, weights.proj, part.attended);
    layer_norm_rows(part.attended, weights.norm2[0], weights.norm2[1], weights.options.epsilon, normed);
    linear(normed, weights.fc1, 0..weights.hidden, part.hidden);
    gelu(part.hidden, activated);
    residual(part.attended, activated, weights.fc2, part.out);
}

/// `out = x weight + bias` in some of its columns.
fn linear(x: &[f32], [weight, bias]: [&[f32]; 2], columns: Range<usize>, out: &mut [f32]) {
    let width = bias.len();
    let inputs = weight.len() / width;
    let rows = x.len() / inputs;
    for row in out.chunks_exact_mut(width).take(rows) {
        row[columns.clone()].copy_from_slice(&bias[columns.clone()]);
    }
    let weight = Matrix::strided(&weight[columns.start..], inputs, columns.len(), width);
    product(&mut out[columns.start..], width, Matrix::new(x, rows, inputs), weight, Write::Add);
}

/// `out = input + x weight + bias`.
fn residual(input: &[f32], x: &[f32], [weight, bias]: [&[f32]; 2], out: &mut [f32]) {
    let width = bias.len();
    for (out, input) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
        for ((out, input), bias) in out.iter_mut().zip(input).zip(bias) {
            *out = input + bias;
        }
    }
    let inputs = weight.len() / width;
    let (x, weight) = (Matrix::new(x, x.len() / inputs, inputs), Matrix::new(weight, inputs, width));
    product(out, width, x, weight, Write::Add);
}

/// One head's share of query, key and value.
pub struct Head<'a> {
    /// `[T, 3 D]`.
    qkv: &'a [f32],
    /// The tokens that ask.
    queries: Range<usize>,
    dim: usize,
    head_dim: usize,
    head: usize,
}

impl<'a> Head<'a> {
    /// Head number `head` of an image's `[T, 3 D]`, asked by some of its tokens.
    pub fn new(qkv: &'a [f32], queries: Range<usize>, weights: &Weights, head: usize) -> Self {
        Self { qkv, queries, dim: weights.dim, head_dim: weights.head_dim(), head }
    }

    fn part(&self, index: usize, tokens: Range<usize>) -> Matrix<'a> {
        let start = tokens.start * 3 * self.dim + index * self.dim + self.head * self.head_dim;
        Matrix::strided(&self.qkv[start..], tokens.len(), self.head_dim, 3 * self.dim)
    }

    fn tokens(&self) -> usize {
        self.qkv.len() / (3 * self.dim)
    }

    /// `[Q, D / heads]`.
    pub fn query(&self) -> Matrix<'a> {
        self.part(0, self.queries.clone())
    }

    /// `[T, D / heads]`.
    pub fn key(&self) -> Matrix<'a> {
        self.part(1, 0..self.tokens())
    }

    /// `[T, D / heads]`.
    pub fn value(&self) -> Matrix<'a> {
        self.part(2, 0..self.tokens())
    }

    /// `softmax(scale * query key^T)`, `[Q, T]`.
    pub fn scores(&self, scale: f32, out: &mut [f32]) {
        product(out, self.tokens(), self.query(), self.key().transposed(), Write::Replace);
        softmax_rows(out, self.tokens(), scale);
    }
}
