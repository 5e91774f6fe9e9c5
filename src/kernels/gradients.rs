//! What the backward pass is asked for, and the sums over images that answer it.

use std::ops::Range;

use super::{
    forward::Weights,
    matrix::{Matrix, Write, product},
};

/// Which gradients anybody asks for; those of norms and biases are cheap and always there.
#[derive(Clone, Debug)]
pub struct Needs<'a> {
    /// Of the block's input.
    pub input: bool,
    /// Of the first norm's scale or shift.
    pub norm1: bool,
    /// Of query, key and value.
    pub qkv: Wanted<'a>,
    /// Of the output projection.
    pub proj: Wanted<'a>,
    /// Of the first feed-forward layer.
    pub fc1: Wanted<'a>,
    /// Of the second feed-forward layer.
    pub fc2: Wanted<'a>,
}

/// What is asked of a linear layer, or of query, key and value side by side.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The gradient of the weight.
    pub weight: bool,
    /// The gradients of factors, one entry per layer side by side; none where they follow from the weight's.
    pub factors: Vec<Factors<'a>>,
}

/// Factors whose product is a part of a weight.
#[derive(Clone, Debug)]
pub struct Factors<'a> {
    /// The weight's columns that they make, `out` in number.
    pub columns: Range<usize>,
    /// `[in, R]`.
    pub a: &'a [f32],
    /// `[R, out]`.
    pub b: &'a [f32],
    /// Whose gradients are asked for.
    pub wanted: [bool; 2],
}

/// What a product of a thin matrix takes for each of its multiplications, next to one of a square matrix.
const THIN: f64 = 1.5;

impl Factors<'_> {
    /// R.
    pub fn rank(&self) -> usize {
        self.b.len() / self.columns.len().max(1)
    }

    fn inputs(&self) -> usize {
        self.a.len() / self.rank().max(1)
    }

    /// Whether their gradients take less than the weight's: per row `2 R (in + out)` multiplications against `in out`.
    pub fn are_cheaper(&self) -> bool {
        let asked = self.wanted.iter().filter(|wanted| **wanted).count();
        let (inputs, outputs) = (self.inputs(), self.columns.len());
        THIN * ((inputs + outputs) * self.rank() * asked) as f64 <= (inputs * outputs) as f64
    }

    /// Adds the gradients of one image: with `y = x a b`, `da = x^T (dy b^T)` and `db = (x a)^T dy`.
    ///
    /// # Shapes
    /// - x: `[T, in]`
    /// - grad: `[T, out]`
    /// - buffer: `[T, R]` or more
    pub fn add(&self, x: Matrix, grad: Matrix, buffer: &mut [f32], [sum_a, sum_b]: &mut [Vec<f32>; 2]) {
        let (rank, inputs, outputs) = (self.rank(), self.inputs(), self.columns.len());
        let rows = x.rows();
        let buffer = &mut buffer[..rows * rank];
        if self.wanted[0] {
            product(buffer, rank, grad, Matrix::new(self.b, rank, outputs).transposed(), Write::Replace);
            product(sum_a, rank, x.transposed(), Matrix::new(buffer, rows, rank), Write::Add);
        }
        if self.wanted[1] {
            product(buffer, rank, x, Matrix::new(self.a, inputs, rank), Write::Replace);
            product(sum_b, outputs, Matrix::new(buffer, rows, rank).transposed(), grad, Write::Add);
        }
    }

    /// The gradients from the weight's, `[in, width]`: `da = dW b^T` and `db = a^T dW`.
    pub fn from_weight(&self, weight: &[f32], width: usize) -> [Vec<f32>; 2] {
        let (rank, inputs, outputs) = (self.rank(), self.inputs(), self.columns.len());
        let weight = Matrix::strided(&weight[self.columns.start..], inputs, outputs, width);
        let mut gradients = self.zeros();
        let [of_a, of_b] = &mut gradients;
        if self.wanted[0] {
            product(of_a, rank, weight, Matrix::new(self.b, rank, outputs).transposed(), Write::Replace);
        }
        if self.wanted[1] {
            product(of_b, outputs, Matrix::new(self.a, inputs, rank).transposed(), weight, Write::Replace);
        }
        gradients
    }

    /// Empty where nobody asks.
    fn zeros(&self) -> [Vec<f32>; 2] {
        let zeros = |wanted: bool, like: &[f32]| vec![0.0; if wanted { like.len() } else { 0 }];
        [zeros(self.wanted[0], self.a), zeros(self.wanted[1], self.b)]
    }
}

impl<'a> Wanted<'a> {
    /// What is least work to answer for layers side by side: whether somebody asks for their weight, and their factors.
    pub fn new(weight: bool, factors: Vec<Factors<'a>>) -> Self {
        let asked = |factors: &Factors| factors.wanted.contains(&true);
        match weight || factors.iter().any(|own| asked(own) && !own.are_cheaper()) {
            true => Self { weight: true, factors: Vec::new() },
            false => Self { weight: false, factors },
        }
    }

    /// The largest rank of the factors that are held, which is room enough for those whose gradients are asked for.
    pub fn rank(&self) -> usize {
        self.factors.iter().map(Factors::rank).max().unwrap_or(0)
    }
}

/// Sums for a linear layer, or for query, key and value side by side; empty where nobody asks.
#[derive(Clone, Debug)]
pub struct LayerSums {
    /// Like the weight.
    pub weight: Vec<f32>,
    /// Like the bias.
    pub bias: Vec<f32>,
    /// As in [`Wanted`].
    pub factors: Vec<[Vec<f32>; 2]>,
}

impl LayerSums {
    fn new([weight, bias]: [&[f32]; 2], wanted: &Wanted) -> Self {
        Self {
            weight: vec![0.0; if wanted.weight { weight.len() } else { 0 }],
            bias: vec![0.0; bias.len()],
            factors: wanted.factors.iter().map(Factors::zeros).collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.weight, &other.weight);
        add(&mut self.bias, &other.bias);
        self.factors.iter_mut().flatten().zip(other.factors.iter().flatten()).for_each(|(a, b)| add(a, b));
    }
}

/// Sums over images, in the layout of [`Weights`].
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Scale and shift.
    pub norm1: [Vec<f32>; 2],
    /// Query, key and value.
    pub qkv: LayerSums,
    /// Output projection.
    pub proj: LayerSums,
    /// Scale and shift.
    pub norm2: [Vec<f32>; 2],
    /// First feed-forward layer.
    pub fc1: LayerSums,
    /// Second feed-forward layer.
    pub fc2: LayerSums,
}

impl Gradients {
    /// Zeros.
    pub fn new(weights: &Weights, needs: &Needs) -> Self {
        let norm = || [vec![0.0; weights.dim], vec![0.0; weights.dim]];
        Self {
            norm1: norm(),
            qkv: LayerSums::new(weights.qkv, &needs.qkv),
            proj: LayerSums::new(weights.proj, &needs.proj),
            norm2: norm(),
            fc1: LayerSums::new(weights.fc1, &needs.fc1),
            fc2: LayerSums::new(weights.fc2, &needs.fc2),
        }
    }

    /// Adds another thread's sums.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in [(&mut self.norm1, &other.norm1), (&mut self.norm2, &other.norm2)] {
            own.iter_mut().zip(other).for_each(|(own, other)| add(own, other));
        }
        self.qkv.add(&other.qkv);
        self.proj.add(&other.proj);
        self.fc1.add(&other.fc1);
        self.fc2.add(&other.fc2);
    }
}

fn add(own: &mut [f32], other: &[f32]) {
    own.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
}
