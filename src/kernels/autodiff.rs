//! The block as an operation of burn's CPU backend and of its autodiff decorator.

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Flex, TensorMetadata,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients as Registry,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::TensorData,
};

use super::{
    BlockOptions, NUM_WEIGHTS,
    backward::{self, Gradients, Image, Needs, backward},
    forward::{self, Saved, Weights, forward},
};
use crate::device;

/// A pre-norm block with GELU: norm1, query, key, value, proj, norm2, fc1, fc2, each with weight and bias.
#[backend_extension(Flex, Autodiff)]
#[allow(clippy::too_many_arguments, missing_docs)] // The macro wants one argument per tensor.
pub trait BlockKernel: Backend {
    fn vit_block(
        input: FloatTensor<Self>,
        norm1_weight: FloatTensor<Self>,
        norm1_bias: FloatTensor<Self>,
        query_weight: FloatTensor<Self>,
        query_bias: FloatTensor<Self>,
        key_weight: FloatTensor<Self>,
        key_bias: FloatTensor<Self>,
        value_weight: FloatTensor<Self>,
        value_bias: FloatTensor<Self>,
        proj_weight: FloatTensor<Self>,
        proj_bias: FloatTensor<Self>,
        norm2_weight: FloatTensor<Self>,
        norm2_bias: FloatTensor<Self>,
        fc1_weight: FloatTensor<Self>,
        fc1_bias: FloatTensor<Self>,
        fc2_weight: FloatTensor<Self>,
        fc2_bias: FloatTensor<Self>,
        options: BlockOptions,
    ) -> FloatTensor<Self>;
}

type Values = FloatTensor<Flex>;

/// The tensors of one call, contiguous, with query, key and value joined.
#[derive(Clone, Debug)]
struct Call {
    input: Values,
    weights: [Values; NUM_WEIGHTS],
    qkv: [Vec<f32>; 2],
    options: BlockOptions,
}

fn slice(values: &Values) -> &[f32] {
    values.as_slice::<f32>().unwrap_or_default()
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Values {
    Values::from_data(TensorData::new(values, shape.to_vec()))
}

impl Call {
    fn new(input: Values, weights: [Values; NUM_WEIGHTS], options: BlockOptions) -> Self {
        let weights = weights.map(|weight| weight.to_contiguous());
        let [query, key, value] = [2, 4, 6].map(|index| (slice(&weights[index]), slice(&weights[index + 1])));
        let width = query.1.len();
        let rows =
            query.0.chunks_exact(width).zip(key.0.chunks_exact(width)).zip(value.0.chunks_exact(width));
        let joined =
            rows.flat_map(|((query, key), value)| query.iter().chain(key).chain(value).copied()).collect();
        let qkv = [joined, [query.1, key.1, value.1].concat()];
        Self { input: input.to_contiguous(), weights, qkv, options }
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

    /// Batch size, tokens and values per image.
    fn sizes(&self) -> (usize, usize, usize) {
        let shape = self.input.shape();
        (shape[0], shape[1], shape[1] * shape[2])
    }

    /// Images per thread.
    fn share(&self) -> usize {
        self.sizes().0.div_ceil(device::num_threads()).max(1)
    }

    /// The output, and per image what the backward pass needs if `keep`.
    fn forward(&self, keep: bool) -> (Values, Vec<Saved>) {
        let (batch, tokens, len) = self.sizes();
        let (weights, share) = (self.weights(), self.share());
        let mut out = vec![0.0; batch * len];
        let input = slice(&self.input).chunks(share * len);
        let jobs: Vec<_> = input.zip(out.chunks_mut(share * len)).collect();
        let saved = device::parallel(jobs, |(input, out)| {
            let mut scratch = forward::Scratch::new(tokens, &weights);
            let mut saved: Vec<Saved> = Vec::new();
            for (input, out) in input.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
                if keep || saved.is_empty() {
                    saved.push(Saved::new(tokens, &weights));
                }
                if let Some(own) = saved.last_mut() {
                    forward(input, &weights, own, &mut scratch, out, batch == 1);
                }
            }
            if keep { saved } else { Vec::new() }
        });
        (tensor(out, &self.input.shape()), saved.into_iter().flatten().collect())
    }

    /// Gradients of the input (empty unless needed) and of the weights.
    fn backward(&self, saved: &[Saved], grad: &Values, needs: &Needs) -> (Vec<f32>, Gradients) {
        let (batch, tokens, len) = self.sizes();
        let (weights, share, grad) = (self.weights(), self.share(), grad.to_contiguous());
        let mut grad_input = vec![0.0; batch * len];
        let parts = slice(&self.input).chunks(share * len).zip(slice(&grad).chunks(share * len));
        let jobs: Vec<_> = parts.zip(saved.chunks(share)).zip(grad_input.chunks_mut(share * len)).collect();
        let sums = device::parallel(jobs, |(((input, grad), saved), grad_input)| {
            let mut scratch = backward::Scratch::new(tokens, &weights);
            let mut sums = Gradients::new(&weights, needs);
            let images = input.chunks_exact(len).zip(grad.chunks_exact(len)).zip(saved);
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

macro_rules! implement {
    ($backend:ty, [$($generics:tt)*], $call:expr) => {
        impl $($generics)* BlockKernel for $backend {
            fn vit_block(
                input: FloatTensor<Self>,
                w0: FloatTensor<Self>, w1: FloatTensor<Self>, w2: FloatTensor<Self>, w3: FloatTensor<Self>,
                w4: FloatTensor<Self>, w5: FloatTensor<Self>, w6: FloatTensor<Self>, w7: FloatTensor<Self>,
                w8: FloatTensor<Self>, w9: FloatTensor<Self>, w10: FloatTensor<Self>, w11: FloatTensor<Self>,
                w12: FloatTensor<Self>, w13: FloatTensor<Self>, w14: FloatTensor<Self>, w15: FloatTensor<Self>,
                options: BlockOptions,
            ) -> FloatTensor<Self> {
                $call(input, [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15], options)
            }
        }
    };
}

implement!(Flex, [], |input, weights, options| Call::new(input, weights, options).forward(false).0);
implement!(Autodiff<Flex, C>, [<C: CheckpointStrategy>], tracked::<C>);

type Tracked = FloatTensor<Autodiff<Flex>>;

fn tracked<C: CheckpointStrategy>(
    input: Tracked,
    weights: [Tracked; NUM_WEIGHTS],
    options: BlockOptions,
) -> Tracked {
    let mut guards = vec![input.node()];
    guards.extend(weights.iter().map(|weight| weight.node()));
    let call = Call::new(input.into_primitive(), weights.map(|weight| weight.into_primitive()), options);
    let Ok(nodes) = guards.try_into() else { unreachable!("one input and {NUM_WEIGHTS} weights") };
    match Backward::<Flex, { NUM_WEIGHTS + 1 }>::prepare::<C>(BlockBackward, nodes).compute_bound().stateful()
    {
        OpsKind::Tracked(prep) => {
            let (output, saved) = call.forward(true);
            prep.finish(Arc::new((call, saved)), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(call.forward(false).0),
    }
}

#[derive(Debug)]
struct BlockBackward;

impl Backward<Flex, { NUM_WEIGHTS + 1 }> for BlockBackward {
    type State = Arc<(Call, Vec<Saved>)>;

    fn backward(
        self,
        ops: Ops<Self::State, { NUM_WEIGHTS + 1 }>,
        grads: &mut Registry,
        _: &mut Checkpointer,
    ) {
        let (call, saved) = ops.state.as_ref();
        let needed = |index: usize| ops.parents[index].is_some();
        let needs = Needs {
            input: needed(0),
            norm1: needed(1) || needed(2),
            qkv: needed(3) || needed(5) || needed(7),
            proj: needed(9),
            fc1: needed(13),
            fc2: needed(15),
        };
        let grad = grads.consume::<Flex>(&ops.node);
        let (grad_input, sums) = call.backward(saved, &grad, &needs);
        if let Some(node) = &ops.parents[0] {
            grads.register::<Flex>(node.id, tensor(grad_input, &call.input.shape()));
        }
        let values = unjoin(sums);
        for ((node, weight), values) in ops.parents.iter().skip(1).zip(&call.weights).zip(values) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, &weight.shape()));
            }
        }
    }
}

/// Sums in the order of the operation's weights.
fn unjoin(sums: Gradients) -> Vec<Vec<f32>> {
    let width = sums.qkv[1].len() / 3;
    let third = |values: &[f32], part: usize| -> Vec<f32> {
        values
            .chunks_exact(3 * width)
            .flat_map(|row| &row[part * width..(part + 1) * width])
            .copied()
            .collect()
    };
    let qkv = (0..3).flat_map(|part| [third(&sums.qkv[0], part), third(&sums.qkv[1], part)]);
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(NUM_WEIGHTS);
    values.extend(sums.norm1.iter().cloned());
    values.extend(qkv);
    for pair in [sums.proj, sums.norm2, sums.fc1, sums.fc2] {
        values.extend(pair);
    }
    values
}
