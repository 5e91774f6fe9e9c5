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
//! - [`call`] shares a batch among threads; where there are fewer images than threads, some share an image
//! - [`autodiff`] is the operation as burn sees it
//!
//! On a GPU, and for blocks with SwiGLU, [`Block`](crate::vit::block::Block) composes burn's own operations.

pub mod autodiff;
pub mod backward;
pub mod call;
pub mod forward;
pub mod math;
pub mod matrix;

use burn::{
    backend::Dispatch,
    tensor::{Device, Tensor},
};

use autodiff::BlockKernel;

/// The weights of a block, in the order in which the operation takes them.
pub const NUM_WEIGHTS: usize = 16;

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

/// Weights of a pre-norm block with GELU; layer scale is folded into `proj` and `fc2`.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Scale and shift of the first norm, `[D]`.
    pub norm1: [Tensor<1>; 2],
    /// Query, key, value and output projection: weight `[D, D]` and bias `[D]`.
    pub attention: [(Tensor<2>, Tensor<1>); 4],
    /// Scale and shift of the second norm, `[D]`.
    pub norm2: [Tensor<1>; 2],
    /// `[D, M]`, `[M]`, then `[M, D]`, `[D]`.
    pub mlp: [(Tensor<2>, Tensor<1>); 2],
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
    let [query, key, value, proj] = weights.attention.map(|(w, b)| (w.into_dispatch(), b.into_dispatch()));
    let [fc1, fc2] = weights.mlp.map(|(w, b)| (w.into_dispatch(), b.into_dispatch()));
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
        options,
    ))
}
