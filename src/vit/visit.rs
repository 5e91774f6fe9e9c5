//! Every tensor of a model with its timm name, in one order: for full fine-tuning and for saving.

use burn::tensor::Tensor;

use super::{
    layers::{LayerNorm, Linear},
    model::Vit,
};

/// A tensor of the model, to read or replace.
pub enum TensorMut<'a> {
    /// A bias, a norm's scale or shift, a layer scale.
    One(&'a mut Tensor<1>),
    /// A linear weight, `[in, out]`.
    Two(&'a mut Tensor<2>),
    /// Prefix tokens or position embeddings.
    Three(&'a mut Tensor<3>),
}

impl TensorMut<'_> {
    /// Its axes.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            TensorMut::One(tensor) => tensor.dims().to_vec(),
            TensorMut::Two(tensor) => tensor.dims().to_vec(),
            TensorMut::Three(tensor) => tensor.dims().to_vec(),
        }
    }

    /// The tensor as a matrix: a vector becomes one row; a 3-d tensor keeps its last axis.
    pub fn to_matrix(&self) -> Tensor<2> {
        match self {
            TensorMut::One(vector) => (*vector).clone().unsqueeze(),
            TensorMut::Two(matrix) => (*matrix).clone(),
            TensorMut::Three(tensor) => {
                let [first, second, last] = tensor.dims();
                (*tensor).clone().reshape([first * second, last])
            }
        }
    }

    /// Puts a matrix of the shape of [`TensorMut::to_matrix`] in its place.
    pub fn replace(self, value: Tensor<2>) {
        match self {
            TensorMut::One(vector) => *vector = value.squeeze_dim(0),
            TensorMut::Two(matrix) => *matrix = value,
            TensorMut::Three(tensor) => *tensor = value.reshape(tensor.dims()),
        }
    }

    /// Whether it hangs on values that are trained.
    pub fn is_autodiff(&self) -> bool {
        match self {
            TensorMut::One(tensor) => tensor.is_autodiff(),
            TensorMut::Two(tensor) => tensor.is_autodiff(),
            TensorMut::Three(tensor) => tensor.is_autodiff(),
        }
    }
}

type Named<'a> = Vec<(String, TensorMut<'a>)>;

impl Vit {
    /// All tensors with their timm names; prefix tokens are called `prefix_tokens`.
    pub fn tensors_mut(&mut self) -> Named<'_> {
        let mut named = vec![
            ("prefix_tokens".to_string(), TensorMut::Three(&mut self.prefix_tokens)),
            ("pos_embed".to_string(), TensorMut::Three(&mut self.pos_embed)),
        ];
        linear(&mut named, "patch_embed.proj", &mut self.patch_embed);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let name = |part: &str| format!("blocks.{index}.{part}");
            norm(&mut named, &name("norm1"), &mut block.norm1);
            linear(&mut named, &name("attn.query"), &mut block.attn.query);
            linear(&mut named, &name("attn.key"), &mut block.attn.key);
            linear(&mut named, &name("attn.value"), &mut block.attn.value);
            linear(&mut named, &name("attn.proj"), &mut block.attn.proj);
            named.extend(block.ls1.as_mut().map(|gamma| (name("ls1.gamma"), TensorMut::One(gamma))));
            norm(&mut named, &name("norm2"), &mut block.norm2);
            linear(&mut named, &name("mlp.fc1"), &mut block.mlp.fc1);
            linear(&mut named, &name("mlp.fc2"), &mut block.mlp.fc2);
            named.extend(block.ls2.as_mut().map(|gamma| (name("ls2.gamma"), TensorMut::One(gamma))));
        }
        match self.fc_norm.as_mut() {
            Some(fc_norm) => norm(&mut named, "fc_norm", fc_norm),
            None => norm(&mut named, "norm", &mut self.norm),
        }
        named
    }

    /// Number of values in all tensors.
    pub fn num_parameters(&self) -> usize {
        let mut vit = self.clone();
        let count = |tensor: &TensorMut| match tensor {
            TensorMut::One(tensor) => tensor.shape().num_elements(),
            TensorMut::Two(tensor) => tensor.shape().num_elements(),
            TensorMut::Three(tensor) => tensor.shape().num_elements(),
        };
        vit.tensors_mut().iter().map(|(_, tensor)| count(tensor)).sum()
    }
}

fn linear<'a>(named: &mut Named<'a>, name: &str, layer: &'a mut Linear) {
    named.push((format!("{name}.weight"), TensorMut::Two(&mut layer.weight)));
    named.extend(layer.bias.as_mut().map(|bias| (format!("{name}.bias"), TensorMut::One(bias))));
    // Only while they are trained: what is saved has none.
    for (factor, tensor) in ["a", "b"].iter().zip(layer.factors.as_mut().into_iter().flatten()) {
        named.push((format!("{name}.{factor}"), TensorMut::Two(tensor)));
    }
}

fn norm<'a>(named: &mut Named<'a>, name: &str, layer: &'a mut LayerNorm) {
    named.push((format!("{name}.weight"), TensorMut::One(&mut layer.weight)));
    named.push((format!("{name}.bias"), TensorMut::One(&mut layer.bias)));
}
