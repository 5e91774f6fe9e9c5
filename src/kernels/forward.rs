//! One image through a block.

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

/// What the backward pass needs of one image.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Query, key and value, `[T, 3 D]`.
    pub qkv: Vec<f32>,
    /// Attention's mixture before the output projection, `[T, D]`.
    pub mixed: Vec<f32>,
    /// Tokens after the attention branch, `[T, D]`.
    pub attended: Vec<f32>,
    /// Before GELU, `[T, M]`.
    pub hidden: Vec<f32>,
}

impl Saved {
    /// Buffers for one image of `tokens` tokens.
    pub fn new(tokens: usize, weights: &Weights) -> Self {
        let zeros = |width: usize| vec![0.0; tokens * width];
        Self {
            qkv: zeros(3 * weights.dim),
            mixed: zeros(weights.dim),
            attended: zeros(weights.dim),
            hidden: zeros(weights.hidden),
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
    /// Buffers for images of `tokens` tokens.
    pub fn new(tokens: usize, weights: &Weights) -> Self {
        let zeros = |width: usize| vec![0.0; tokens * width];
        Self { normed: zeros(weights.dim), scores: zeros(tokens), activated: zeros(weights.hidden) }
    }
}

/// `out = input + proj(attention(norm1(input)))`, then the feed-forward branch on top.
///
/// # Shapes
/// - input, out: `[T, D]`
pub fn forward(
    input: &[f32],
    weights: &Weights,
    saved: &mut Saved,
    scratch: &mut Scratch,
    out: &mut [f32],
    threads: bool,
) {
    let tokens = input.len() / weights.dim;
    let Scratch { normed, scores, activated } = scratch;
    let epsilon = weights.options.epsilon;
    layer_norm_rows(input, weights.norm1[0], weights.norm1[1], epsilon, normed);
    linear(normed, weights.qkv, weights.dim, &mut saved.qkv, threads);
    for head in 0..weights.options.num_heads {
        let attention =
            Head { qkv: &saved.qkv, tokens, dim: weights.dim, head_dim: weights.head_dim(), head };
        attention.scores(weights.scale(), scores, threads);
        let mixed = &mut saved.mixed[head * weights.head_dim()..];
        product(
            mixed,
            weights.dim,
            Matrix::new(scores, tokens, tokens),
            attention.value(),
            Write::Replace,
            threads,
        );
    }
    residual(input, &saved.mixed, weights.proj, weights.dim, &mut saved.attended, threads);
    layer_norm_rows(&saved.attended, weights.norm2[0], weights.norm2[1], epsilon, normed);
    linear(normed, weights.fc1, weights.dim, &mut saved.hidden, threads);
    gelu(&saved.hidden, activated);
    residual(&saved.attended, activated, weights.fc2, weights.hidden, out, threads);
}

/// `out = x weight + bias`.
fn linear(x: &[f32], [weight, bias]: [&[f32]; 2], inputs: usize, out: &mut [f32], threads: bool) {
    let outputs = bias.len();
    out.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
    let (x, weight) = (Matrix::new(x, x.len() / inputs, inputs), Matrix::new(weight, inputs, outputs));
    product(out, outputs, x, weight, Write::Add, threads);
}

/// `out = input + x weight + bias`.
fn residual(
    input: &[f32],
    x: &[f32],
    [weight, bias]: [&[f32]; 2],
    inputs: usize,
    out: &mut [f32],
    threads: bool,
) {
    let outputs = bias.len();
    for (out, input) in out.chunks_exact_mut(outputs).zip(input.chunks_exact(outputs)) {
        for ((out, input), bias) in out.iter_mut().zip(input).zip(bias) {
            *out = input + bias;
        }
    }
    let (x, weight) = (Matrix::new(x, x.len() / inputs, inputs), Matrix::new(weight, inputs, outputs));
    product(out, outputs, x, weight, Write::Add, threads);
}

/// One head's share of query, key and value.
pub struct Head<'a> {
    /// `[T, 3 D]`.
    pub qkv: &'a [f32],
    /// T.
    pub tokens: usize,
    /// D.
    pub dim: usize,
    /// D / heads.
    pub head_dim: usize,
    /// Index of the head.
    pub head: usize,
}

impl<'a> Head<'a> {
    fn part(&self, index: usize) -> Matrix<'a> {
        let start = index * self.dim + self.head * self.head_dim;
        Matrix::strided(&self.qkv[start..], self.tokens, self.head_dim, 3 * self.dim)
    }

    /// `[T, D / heads]`.
    pub fn query(&self) -> Matrix<'a> {
        self.part(0)
    }

    /// `[T, D / heads]`.
    pub fn key(&self) -> Matrix<'a> {
        self.part(1)
    }

    /// `[T, D / heads]`.
    pub fn value(&self) -> Matrix<'a> {
        self.part(2)
    }

    /// `softmax(scale * query key^T)`, `[T, T]`.
    pub fn scores(&self, scale: f32, out: &mut [f32], threads: bool) {
        product(out, self.tokens, self.query(), self.key().transposed(), Write::Replace, threads);
        softmax_rows(out, self.tokens, scale);
    }
}
