//! A batch through a block: its tensors, and how threads share the work.

use std::ops::Range;

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::TensorData,
};

use super::{
    BlockOptions, NUM_TENSORS,
    backward::{self, Image, backward},
    forward::{self, Part, Saved, Weights, attend, forward, project},
    gradients::{Factors, Gradients, LayerSums, Needs, Wanted},
};
use crate::device;

type Values = FloatTensor<Flex>;

/// The linear layers, in the order query, key, value, proj, fc1, fc2.
const NUM_LAYERS: usize = 6;
const QKV: Range<usize> = 0..3;
const PROJ: Range<usize> = 3..4;
const FC1: Range<usize> = 4..5;
const FC2: Range<usize> = 5..6;
/// Where among the tensors their weights are.
const WEIGHTS: [usize; NUM_LAYERS] = [2, 4, 6, 8, 12, 14];
/// Where the first of their factors is.
const FACTORS: usize = 16;

/// The tensors of one call, contiguous, with query, key and value joined.
#[derive(Clone, Debug)]
pub struct Call {
    input: Values,
    tensors: [Values; NUM_TENSORS],
    qkv: [Vec<f32>; 2],
    options: BlockOptions,
}

fn slice(values: &Values) -> &[f32] {
    values.as_slice::<f32>().unwrap_or_default()
}

/// A tensor of the CPU backend.
pub fn tensor(values: Vec<f32>, shape: &[usize]) -> Values {
    Values::from_data(TensorData::new(values, shape.to_vec()))
}

/// Query, key and value side by side.
fn join(parts: [&[f32]; 3], width: usize) -> Vec<f32> {
    let mut joined = Vec::with_capacity(3 * parts[0].len());
    for start in (0..parts[0].len()).step_by(width.max(1)) {
        parts.iter().for_each(|part| joined.extend_from_slice(&part[start..start + width]));
    }
    joined
}

impl Call {
    /// Tensors in the order of [`NUM_TENSORS`].
    pub fn new(input: Values, tensors: [Values; NUM_TENSORS], options: BlockOptions) -> Self {
        let tensors = tensors.map(|tensor| tensor.to_contiguous());
        let three = |first: usize| [first, first + 2, first + 4].map(|index| slice(&tensors[index]));
        let width = slice(&tensors[3]).len();
        let qkv = [join(three(2), width), join(three(3), width)];
        Self { input: input.to_contiguous(), tensors, qkv, options }
    }

    /// `[B, T, D]`.
    pub fn input_shape(&self) -> [usize; 3] {
        let shape = self.input.shape();
        [shape[0], shape[1], shape[2]]
    }

    /// Of one of the block's tensors.
    pub fn tensor_shape(&self, index: usize) -> Vec<usize> {
        self.tensors[index].shape().to_vec()
    }

    fn weights(&self) -> Weights<'_> {
        let pair = |index: usize| [slice(&self.tensors[index]), slice(&self.tensors[index + 1])];
        Weights {
            dim: pair(0)[0].len(),
            hidden: pair(12)[1].len(),
            norm1: pair(0),
            qkv: [&self.qkv[0], &self.qkv[1]],
            proj: pair(8),
            norm2: pair(10),
            fc1: pair(12),
            fc2: pair(14),
            options: self.options,
        }
    }

    /// The output `[B, Q, D]`, and per image what the backward pass needs, certainly if `keep`.
    pub fn forward(&self, keep: bool) -> (Values, Vec<Saved>) {
        let [batch, _, dim] = self.input_shape();
        let queries = self.options.queries;
        let mut out = vec![0.0; batch * queries * dim];
        let parts = device::num_threads() / batch.max(1);
        let saved = if parts > 1 {
            self.forward_in_parts(parts, &mut out)
        } else {
            self.forward_whole(keep, &mut out)
        };
        (tensor(out, &[batch, queries, dim]), saved)
    }

    /// A share of the images for every thread, one image after another: its tokens stay in the cache.
    fn forward_whole(&self, keep: bool, out: &mut [f32]) -> Vec<Saved> {
        let [_, tokens, dim] = self.input_shape();
        let (weights, len, out_len) = (self.weights(), tokens * dim, self.options.queries * dim);
        let input = slice(&self.input).chunks(self.share() * len);
        let jobs: Vec<_> = input.zip(out.chunks_mut(self.share() * out_len)).collect();
        let saved = device::parallel(jobs, |(input, out)| {
            let mut scratch = forward::Scratch::new(tokens, tokens, &weights);
            let mut saved: Vec<Saved> = Vec::new();
            for (input, out) in input.chunks_exact(len).zip(out.chunks_exact_mut(out_len)) {
                if keep || saved.is_empty() {
                    saved.push(Saved::new(tokens, &weights));
                }
                if let Some(own) = saved.last_mut() {
                    forward(input, &weights, own, &mut scratch, out);
                }
            }
            if keep { saved } else { Vec::new() }
        });
        saved.into_iter().flatten().collect()
    }

    /// Fewer images than threads: every image's tokens are shared by some, who meet once, at attention.
    fn forward_in_parts(&self, parts: usize, out: &mut [f32]) -> Vec<Saved> {
        let [batch, tokens, dim] = self.input_shape();
        let (weights, queries) = (self.weights(), self.options.queries);
        let mut saved: Vec<Saved> = (0..batch).map(|_| Saved::new(tokens, &weights)).collect();
        let images = || slice(&self.input).chunks(tokens * dim);

        let rows = tokens.div_ceil(parts);
        let mut jobs = Vec::new();
        for (input, saved) in images().zip(&mut saved) {
            let qkv = saved.qkv.chunks_mut(rows * 3 * dim);
            jobs.extend(input.chunks(rows * dim).zip(qkv).enumerate());
        }
        device::parallel(jobs, |(index, (input, qkv))| {
            let asking = queries.saturating_sub(index * rows).min(input.len() / dim);
            project(input, asking, &weights, &mut forward::Scratch::new(rows, tokens, &weights), qkv);
        });

        let rows = queries.div_ceil(parts);
        let mut jobs = Vec::new();
        for ((input, out), saved) in images().zip(out.chunks_mut(queries * dim)).zip(&mut saved) {
            let Saved { qkv, mixed, attended, hidden } = saved;
            let input = input[..queries * dim].chunks(rows * dim);
            let kept = mixed.chunks_mut(rows * dim).zip(attended.chunks_mut(rows * dim));
            let kept = kept.zip(hidden.chunks_mut(rows * weights.hidden));
            for (index, ((input, out), ((mixed, attended), hidden))) in
                input.zip(out.chunks_mut(rows * dim)).zip(kept).enumerate()
            {
                jobs.push(Part { first: index * rows, input, qkv, mixed, attended, hidden, out });
            }
        }
        device::parallel(jobs, |part| {
            attend(part, &weights, &mut forward::Scratch::new(rows, tokens, &weights));
        });
        saved
    }

    /// Images per thread.
    fn share(&self) -> usize {
        self.input_shape()[0].div_ceil(device::num_threads()).max(1)
    }

    /// Gradients of the input (zeros unless wanted), and of the tensors (whatever it is unless wanted).
    pub fn backward(
        &self,
        saved: &[Saved],
        grad: &Values,
        input: bool,
        wanted: &[bool; NUM_TENSORS],
    ) -> (Vec<f32>, Vec<Vec<f32>>) {
        let needs = Needs {
            input,
            norm1: wanted[0] || wanted[1],
            qkv: self.wanted(QKV, wanted),
            proj: self.wanted(PROJ, wanted),
            fc1: self.wanted(FC1, wanted),
            fc2: self.wanted(FC2, wanted),
        };
        let (grad_input, sums) = self.sums(saved, grad, &needs);
        let mut gradients: Vec<Vec<f32>> = Vec::with_capacity(NUM_TENSORS);
        let mut factors: Vec<[Vec<f32>; 2]> = Vec::with_capacity(NUM_LAYERS);
        gradients.extend(sums.norm1);
        for (layers, sums) in [(QKV, sums.qkv), (PROJ, sums.proj)] {
            gradients.extend(split(&sums, layers.len()));
            factors.extend(self.of_factors(layers, sums, wanted));
        }
        gradients.extend(sums.norm2);
        for (layers, sums) in [(FC1, sums.fc1), (FC2, sums.fc2)] {
            gradients.extend(split(&sums, 1));
            factors.extend(self.of_factors(layers, sums, wanted));
        }
        gradients.extend(factors.into_iter().flatten());
        (grad_input, gradients)
    }

    /// Sums over all images.
    fn sums(&self, saved: &[Saved], grad: &Values, needs: &Needs) -> (Vec<f32>, Gradients) {
        let [batch, tokens, dim] = self.input_shape();
        let (weights, share, grad) = (self.weights(), self.share(), grad.to_contiguous());
        let (len, out_len) = (tokens * dim, self.options.queries * dim);
        let mut grad_input = vec![0.0; batch * len];
        let parts = slice(&self.input).chunks(share * len).zip(slice(&grad).chunks(share * out_len));
        let jobs: Vec<_> = parts.zip(saved.chunks(share)).zip(grad_input.chunks_mut(share * len)).collect();
        let sums = device::parallel(jobs, |(((input, grad), saved), grad_input)| {
            let mut scratch = backward::Scratch::new(tokens, &weights, needs);
            let mut sums = Gradients::new(&weights, needs);
            let images = input.chunks_exact(len).zip(grad.chunks_exact(out_len)).zip(saved);
            for (((input, grad), saved), out) in images.zip(grad_input.chunks_exact_mut(len)) {
                backward(Image { input, grad, saved }, &weights, needs, &mut scratch, &mut sums, out);
            }
            sums
        });
        let mut sums = sums.into_iter();
        let mut total = sums.next().unwrap_or_else(|| Gradients::new(&weights, needs));
        sums.for_each(|sum| total.add(&sum));
        (grad_input, total)
    }

    /// What is asked of layers side by side.
    fn wanted(&self, layers: Range<usize>, wanted: &[bool; NUM_TENSORS]) -> Wanted<'_> {
        let weight = layers.clone().any(|layer| wanted[WEIGHTS[layer]]);
        Wanted::new(weight, self.factors(layers, wanted))
    }

    /// The factors of layers side by side.
    fn factors(&self, layers: Range<usize>, wanted: &[bool; NUM_TENSORS]) -> Vec<Factors<'_>> {
        let factors = |(position, layer): (usize, usize)| {
            let width = slice(&self.tensors[WEIGHTS[layer] + 1]).len();
            let first = FACTORS + 2 * layer;
            Factors {
                columns: position * width..(position + 1) * width,
                a: slice(&self.tensors[first]),
                b: slice(&self.tensors[first + 1]),
                wanted: [wanted[first], wanted[first + 1]],
            }
        };
        layers.enumerate().map(factors).collect()
    }

    /// Gradients of the factors of layers side by side, from their own sums or the weight's.
    fn of_factors(
        &self,
        layers: Range<usize>,
        sums: LayerSums,
        wanted: &[bool; NUM_TENSORS],
    ) -> Vec<[Vec<f32>; 2]> {
        if sums.weight.is_empty() {
            return sums.factors;
        }
        let factors = self.factors(layers, wanted);
        factors.iter().map(|factors| factors.from_weight(&sums.weight, sums.bias.len())).collect()
    }
}

/// Weight and bias of each of some layers side by side; a weight that nobody asks for is empty.
fn split(sums: &LayerSums, layers: usize) -> Vec<Vec<f32>> {
    let total = sums.bias.len();
    let width = total / layers;
    let columns = |values: &[f32], layer: usize| -> Vec<f32> {
        let mut own = Vec::with_capacity(values.len() / layers);
        for row in values.chunks_exact(total) {
            own.extend_from_slice(&row[layer * width..(layer + 1) * width]);
        }
        own
    };
    (0..layers).flat_map(|layer| [columns(&sums.weight, layer), columns(&sums.bias, layer)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [bool; NUM_TENSORS] = [true; NUM_TENSORS];

    /// Two images of seven tokens, width 8 in two heads, hidden width 12, factors of rank 1; any numbers.
    fn call(queries: usize) -> Call {
        let mut seed = 0;
        let mut values = |shape: &[usize]| {
            seed += 11;
            let count = shape.iter().product();
            tensor((0..count).map(|i| ((i * 37 + seed) % 23) as f32 * 0.08 - 0.9).collect(), shape)
        };
        let input = values(&[2, 7, 8]);
        let sizes = [(8, 8), (8, 8), (8, 8), (8, 8), (8, 12), (12, 8)];
        let mut tensors = Vec::new();
        for (layer, (inputs, outputs)) in sizes.into_iter().enumerate() {
            if layer == QKV.start || layer == FC1.start {
                tensors.extend([values(&[8]), values(&[8])]); // A norm stands before it.
            }
            tensors.extend([values(&[inputs, outputs]), values(&[outputs])]);
        }
        tensors.extend(
            sizes.iter().flat_map(|&(inputs, outputs)| [values(&[inputs, 1]), values(&[1, outputs])]),
        );
        let tensors = tensors.try_into().expect("all tensors");
        Call::new(input, tensors, BlockOptions { queries, num_heads: 2, epsilon: 1e-6 })
    }

    fn all(saved: &[Saved]) -> Vec<f32> {
        let parts = |saved: &Saved| [&saved.qkv[..], &saved.mixed, &saved.attended, &saved.hidden].concat();
        saved.iter().flat_map(parts).collect()
    }

    fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    fn largest(values: &[f32]) -> f32 {
        values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
    }

    /// A gradient of the output that is 0 but for the first `queries` tokens.
    fn gradient(queries: usize) -> Vec<f32> {
        let value = |index: usize| (index % 5) as f32 * 0.3 - 0.6;
        (0..2 * 7 * 8).map(|index| if index % (7 * 8) < queries * 8 { value(index) } else { 0.0 }).collect()
    }

    #[test]
    fn threads_that_share_an_image_give_what_one_gives() {
        for (queries, parts) in [(7, 2), (7, 3), (7, 20), (3, 2), (1, 4)] {
            let call = call(queries);
            let mut whole = vec![0.0; 2 * queries * 8];
            let mut shared = whole.clone();
            let kept = call.forward_whole(true, &mut whole);
            let kept_in_parts = call.forward_in_parts(parts, &mut shared);
            let same = close(&whole, &shared, 1e-5) && close(&all(&kept), &all(&kept_in_parts), 1e-5);
            assert!(same, "{queries} {parts}");
        }
    }

    #[test]
    fn the_first_tokens_alone_have_the_outputs_and_gradients_that_they_have_among_all() {
        let (every, first) = (call(7), call(2));
        let (out, saved) = every.forward(true);
        let (out_first, saved_first) = first.forward(true);
        let of_first = |values: &[f32]| -> Vec<f32> {
            values.chunks(7 * 8).flat_map(|image| image[..2 * 8].to_vec()).collect()
        };
        assert!(close(slice(&out_first), &of_first(slice(&out)), 1e-5));

        let grad = gradient(2);
        let grad_first = tensor(of_first(&grad), &[2, 2, 8]);
        let (input, gradients) = every.backward(&saved, &tensor(grad, &[2, 7, 8]), true, &ALL);
        let (input_first, gradients_first) = first.backward(&saved_first, &grad_first, true, &ALL);
        assert!(close(&input, &input_first, 1e-5) && largest(&input) > 0.01);
        for (index, (own, first)) in gradients.iter().zip(&gradients_first).enumerate() {
            // The key's bias has none: softmax does not see a shift that all keys share.
            let size = largest(own);
            assert!(size > 0.01 || index == WEIGHTS[1] + 1, "{index}");
            assert!(close(own, first, 1e-5 * size.max(0.1)), "{index}");
        }
    }

    #[test]
    fn factors_have_the_same_gradients_with_and_without_the_weights() {
        let call = call(7);
        let (_, saved) = call.forward(true);
        let grad = tensor(gradient(7), &[2, 7, 8]);
        let of_factors = std::array::from_fn(|index| index >= FACTORS);
        assert!([QKV, PROJ, FC1, FC2].into_iter().all(|layers| !call.wanted(layers, &of_factors).weight));
        let (_, gradients) = call.backward(&saved, &grad, false, &ALL);
        let (_, alone) = call.backward(&saved, &grad, false, &of_factors);
        assert!(WEIGHTS.iter().all(|weight| alone[*weight].is_empty()));
        for index in FACTORS..NUM_TENSORS {
            let size = largest(&gradients[index]);
            assert!(size > 0.01 && close(&gradients[index], &alone[index], 1e-5 * size), "{index}");
        }
    }
}
