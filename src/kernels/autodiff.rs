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
    BlockOptions, NUM_TENSORS,
    call::{Call, tensor},
    forward::Saved,
};

/// A pre-norm block with GELU: norm1, query, key, value, proj, norm2, fc1, fc2, each with weight and bias,
/// and the factors of linear layers.
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
        query_a: FloatTensor<Self>,
        query_b: FloatTensor<Self>,
        key_a: FloatTensor<Self>,
        key_b: FloatTensor<Self>,
        value_a: FloatTensor<Self>,
        value_b: FloatTensor<Self>,
        proj_a: FloatTensor<Self>,
        proj_b: FloatTensor<Self>,
        fc1_a: FloatTensor<Self>,
        fc1_b: FloatTensor<Self>,
        fc2_a: FloatTensor<Self>,
        fc2_b: FloatTensor<Self>,
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
                f0: FloatTensor<Self>, f1: FloatTensor<Self>, f2: FloatTensor<Self>, f3: FloatTensor<Self>,
                f4: FloatTensor<Self>, f5: FloatTensor<Self>, f6: FloatTensor<Self>, f7: FloatTensor<Self>,
                f8: FloatTensor<Self>, f9: FloatTensor<Self>, f10: FloatTensor<Self>, f11: FloatTensor<Self>,
                options: BlockOptions,
            ) -> FloatTensor<Self> {
                let tensors = [
                    w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15,
                    f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11,
                ];
                $call(input, tensors, options)
            }
        }
    };
}

implement!(Flex, [], |input, tensors, options| Call::new(input, tensors, options).forward(false).0);
implement!(Autodiff<Flex, C>, [<C: CheckpointStrategy>], tracked::<C>);

type Tracked = FloatTensor<Autodiff<Flex>>;

fn tracked<C: CheckpointStrategy>(
    input: Tracked,
    tensors: [Tracked; NUM_TENSORS],
    options: BlockOptions,
) -> Tracked {
    let mut guards = vec![input.node()];
    guards.extend(tensors.iter().map(|tensor| tensor.node()));
    let call = Call::new(input.into_primitive(), tensors.map(|tensor| tensor.into_primitive()), options);
    let Ok(nodes) = guards.try_into() else { unreachable!("one input and {NUM_TENSORS} tensors") };
    match Backward::<Flex, { NUM_TENSORS + 1 }>::prepare::<C>(BlockBackward, nodes).compute_bound().stateful()
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

impl Backward<Flex, { NUM_TENSORS + 1 }> for BlockBackward {
    type State = Arc<(Call, Vec<Saved>)>;

    fn backward(
        self,
        ops: Ops<Self::State, { NUM_TENSORS + 1 }>,
        grads: &mut Registry,
        _: &mut Checkpointer,
    ) {
        let (call, saved) = ops.state.as_ref();
        let [input, parents @ ..] = &ops.parents;
        let wanted = std::array::from_fn(|index| parents[index].is_some());
        let grad = grads.consume::<Flex>(&ops.node);
        let (grad_input, gradients) = call.backward(saved, &grad, input.is_some(), &wanted);
        if let Some(node) = input {
            grads.register::<Flex>(node.id, tensor(grad_input, &call.input_shape()));
        }
        for (index, (node, values)) in parents.iter().zip(gradients).enumerate() {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, &call.tensor_shape(index)));
            }
        }
    }
}
