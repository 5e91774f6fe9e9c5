//! A batch through a block: its tensors, and how threads share the work.

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::TensorData,
};

use super::{
    BlockOptions, NUM_WEIGHTS,
    backward::{self, Gradients, Image, Needs, backward},
    forward::{self, Part, Saved, Weights, attend, forward, project},
};
use crate::device;

type Values = FloatTensor<Flex>;

/// The tensors of one call, contiguous, with query, key and value joined.
#[derive(Clone, Debug)]
pub struct Call {
    input: Values,
    weights: [Values; NUM_WEIGHTS],
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
    /// Tensors in the order of [`NUM_WEIGHTS`](super::NUM_WEIGHTS).
    pub fn new(input: Values, weights: [Values; NUM_WEIGHTS], options: BlockOptions) -> Self {
        let weights = weights.map(|weight| weight.to_contiguous());
        let three = |first: usize| [first, first + 2, first + 4].map(|index| slice(&weights[index]));
        let width = slice(&weights[3]).len();
        let qkv = [join(three(2), width), join(three(3), width)];
        Self { input: input.to_contiguous(), weights, qkv, options }
    }

    /// `[B, T, D]`.
    pub fn input_shape(&self) -> [usize; 3] {
        let shape = self.input.shape();
        [shape[0], shape[1], shape[2]]
    }

    /// Of one of the weights.
    pub fn weight_shape(&self, index: usize) -> Vec<usize> {
        self.weights[index].shape().to_vec()
    }

    fn weights(&self) -> Weights<'_> {
        let pair = |index: usize| [slice(&self.weights[index]), slice(&self.weights[index + 1])];
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

    /// The output `[B, Q, D]`, and per image what the backward pass needs if `keep`.
    pub fn forward(&self, keep: bool) -> (Values, Vec<Saved>) {
        let [batch, tokens, dim] = self.input_shape();
        let queries = self.options.queries;
        let mut out = vec![0.0; batch * queries * dim];
        let parts = device::num_threads() / batch.max(1);
        let saved = if parts > 1 && tokens > 0 && queries > 0 {
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

    /// Gradients of the input (zeros unless needed) and of the weights.
    pub fn backward(&self, saved: &[Saved], grad: &Values, needs: &Needs) -> (Vec<f32>, Gradients) {
        let [batch, tokens, dim] = self.input_shape();
        let (weights, share, grad) = (self.weights(), self.share(), grad.to_contiguous());
        let (len, out_len) = (tokens * dim, self.options.queries * dim);
        let mut grad_input = vec![0.0; batch * len];
        let parts = slice(&self.input).chunks(share * len).zip(slice(&grad).chunks(share * out_len));
        let jobs: Vec<_> = parts.zip(saved.chunks(share)).zip(grad_input.chunks_mut(share * len)).collect();
        let sums = device::parallel(jobs, |(((input, grad), saved), grad_input)| {
            let mut scratch = backward::Scratch::new(tokens, &weights);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of seven tokens, width 8 in two heads, hidden width 12; any numbers.
    fn call(queries: usize) -> Call {
        let values = |shape: &[usize], seed: usize| {
            let count = shape.iter().product();
            tensor((0..count).map(|i| ((i * 37 + seed * 11) % 23) as f32 * 0.08 - 0.9).collect(), shape)
        };
        let shapes: [&[usize]; NUM_WEIGHTS] = [
            &[8],
            &[8],
            &[8, 8],
            &[8],
            &[8, 8],
            &[8],
            &[8, 8],
            &[8],
            &[8, 8],
            &[8],
            &[8],
            &[8],
            &[8, 12],
            &[12],
            &[12, 8],
            &[8],
        ];
        let mut seed = 0;
        let weights = shapes.map(|shape| {
            seed += 1;
            values(shape, seed)
        });
        Call::new(values(&[2, 7, 8], 0), weights, BlockOptions { queries, num_heads: 2, epsilon: 1e-6 })
    }

    fn all(saved: &[Saved]) -> Vec<f32> {
        let parts = |saved: &Saved| [&saved.qkv[..], &saved.mixed, &saved.attended, &saved.hidden].concat();
        saved.iter().flat_map(parts).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn threads_that_share_an_image_give_what_one_gives() {
        for (queries, parts) in [(7, 2), (7, 3), (7, 20), (3, 2), (1, 4)] {
            let call = call(queries);
            let mut whole = vec![0.0; 2 * queries * 8];
            let mut shared = whole.clone();
            let kept = call.forward_whole(true, &mut whole);
            let kept_in_parts = call.forward_in_parts(parts, &mut shared);
            assert!(close(&whole, &shared) && close(&all(&kept), &all(&kept_in_parts)), "{queries} {parts}");
        }
    }

    #[test]
    fn the_first_tokens_alone_have_the_outputs_and_gradients_that_they_have_among_all() {
        let (every, first) = (call(7), call(2));
        let (out, saved) = every.forward(true);
        let (out_first, saved_first) = first.forward(true);
        let of_first =
            |values: &[f32]| values.chunks(7 * 8).flat_map(|image| image[..2 * 8].to_vec()).collect();
        let expected: Vec<f32> = of_first(slice(&out));
        assert!(close(slice(&out_first), &expected));

        let mut grad = vec![0.0; 2 * 7 * 8];
        for (index, value) in grad.iter_mut().enumerate().filter(|(index, _)| index % (7 * 8) < 2 * 8) {
            *value = (index % 5) as f32 * 0.3 - 0.6;
        }
        let needs = Needs { input: true, norm1: true, qkv: true, proj: true, fc1: true, fc2: true };
        let (input, sums) = every.backward(&saved, &tensor(grad.clone(), &[2, 7, 8]), &needs);
        let grad_first: Vec<f32> = of_first(&grad);
        let (input_first, sums_first) = first.backward(&saved_first, &tensor(grad_first, &[2, 2, 8]), &needs);
        assert!(close(&input, &input_first) && input.iter().any(|value| value.abs() > 0.01));
        let pairs = |sums: Gradients| {
            [sums.norm1, sums.qkv, sums.proj, sums.norm2, sums.fc1, sums.fc2].concat().concat()
        };
        let (sums, sums_first) = (pairs(sums), pairs(sums_first));
        let largest = sums.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(sums.len() == sums_first.len() && largest > 0.1);
        assert!(sums.iter().zip(&sums_first).all(|(a, b)| (a - b).abs() < 1e-5 * largest));
    }
}
