//! The block as an operation of burn's CPU backend and of its autodiff decorator.

use std::sync::Arc;

use burn::backend::{
    Autodiff, Backend, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients as Registry,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};

use super::{
    BlockOptions, NUM_WEIGHTS,
    backward::{Gradients, Needs},
    call::{Call, tensor},
    forward::Saved,
};

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
            grads.register::<Flex>(node.id, tensor(grad_input, &call.input_shape()));
        }
        let values = unjoin(sums);
        for (index, (node, values)) in ops.parents.iter().skip(1).zip(values).enumerate() {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, &call.weight_shape(index)));
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
