//! A transformer block as one operation of the CPU device.
//!
//! burn's CPU backend runs a block as some thirty operations over the whole batch: every one writes a fresh
//! buffer that has left the cache before the next reads it, the elementwise ones use one core, and GELU and
//! softmax call scalar `erff` and `expf`. Here one thread takes one image through the whole block: its
//! tokens stay in the second-level cache, matrix products run on one core each, and the elementwise parts
//! are vectorised. The backward pass is written by hand in the same way.
//!
//! - [`math`] has vectorised exponential, GELU, softmax, layer norm and their derivatives
//! - [`matrix`] has strided matrix products
//! - [`forward`] and [`backward`] take one image through a block and back
//! - [`gradients`] is what the way back is asked for: of a weight that is trained through factors, their gradients,
//!   at width 192 a third of the multiplications of the weight's for ten modules of rank 4, a sixteenth for a LoRA
//! - [`call`] shares a batch among threads; where there are fewer images than threads, some share an image
//! - [`autodiff`] is the operation as burn sees it
//!
//! On a GPU, and for blocks with SwiGLU, [`Block`](crate::vit::block::Block) composes burn's own operations.

pub mod autodiff;
pub mod backward;
pub mod call;
pub mod forward;
pub mod gradients;
pub mod math;
pub mod matrix;

use burn::{
    backend::Dispatch,
    tensor::{Device, Tensor, TensorData},
};

use autodiff::BlockKernel;

/// The tensors of a block, in the order in which the operation takes them: norm1, query, key, value, proj, norm2, fc1
/// and fc2, each with weight and bias, then the factors of the six linear layers.
pub const NUM_TENSORS: usize = 28;

/// What a block's weights do not say.
#[derive(Clone, Copy, Debug)]
pub struct BlockOptions {
    /// How many tokens have an output, Q: the first ones. Attention looks at all.
    pub queries: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Epsilon of both layer norms.
    pub epsilon: f32,
}

/// A linear layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Weight, `[in, out]`, with the factors' product in it.
    pub weight: Tensor<2>,
    /// Bias, `[out]`.
    pub bias: Tensor<1>,
    /// Factors that get the weight's gradient, `[in, R]` and `[R, out]`.
    pub factors: Option<[Tensor<2>; 2]>,
}

/// Weights of a pre-norm block with GELU; layer scale is folded into `proj` and `fc2`.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Scale and shift of the first norm, `[D]`.
    pub norm1: [Tensor<1>; 2],
    /// Query, key, value and output projection, from D to D.
    pub attention: [LayerWeights; 4],
    /// Scale and shift of the second norm, `[D]`.
    pub norm2: [Tensor<1>; 2],
    /// From D to M and back.
    pub mlp: [LayerWeights; 2],
}

/// Whether tensors of a device can take the fused path.
pub fn is_available(device: &Device) -> bool {
    // Devices are equal when the hardware is: the autodiff twin counts, too.
    *device == Device::flex()
}

/// Applies a block; only where [`is_available`].
///
/// # Shapes
/// - input: `[B, T, D]`
/// - output: `[B, Q, D]`
pub fn block(input: Tensor<3>, weights: BlockWeights, options: BlockOptions) -> Tensor<3> {
    let [n1w, n1b] = weights.norm1.map(Tensor::into_dispatch);
    let [n2w, n2b] = weights.norm2.map(Tensor::into_dispatch);
    let layer = |layer: LayerWeights| {
        // No factors are factors of rank 0.
        let [inputs, outputs] = layer.weight.dims();
        let none = |shape| Tensor::from_data(TensorData::new(Vec::<f32>::new(), shape), &layer.bias.device());
        let [a, b] = layer.factors.unwrap_or_else(|| [none([inputs, 0]), none([0, outputs])]);
        (layer.weight.into_dispatch(), layer.bias.into_dispatch(), a.into_dispatch(), b.into_dispatch())
    };
    let [query, key, value, proj] = weights.attention.map(layer);
    let [fc1, fc2] = weights.mlp.map(layer);
    Tensor::from_dispatch(<Dispatch as BlockKernel>::vit_block(
        input.into_dispatch(),
        n1w,
        n1b,
        query.0,
        query.1,
        key.0,
        key.1,
        value.0,
        value.1,
        proj.0,
        proj.1,
        n2w,
        n2b,
        fc1.0,
        fc1.1,
        fc2.0,
        fc2.1,
        query.2,
        query.3,
        key.2,
        key.3,
        value.2,
        value.3,
        proj.2,
        proj.3,
        fc1.2,
        fc1.3,
        fc2.2,
        fc2.3,
        options,
    ))
}
