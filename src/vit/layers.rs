//! The two layers that every block is made of: linear and layer norm.

use burn::tensor::{FloatDType, Tensor, module};

/// Affine map of the last axis. Frozen or trained: the tensors decide, the layer does not know.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight, `[in, out]` (the transpose of what PyTorch stores).
    pub weight: Tensor<2>,
    /// Bias, `[out]`.
    pub bias: Option<Tensor<1>>,
    /// Factors `[in, R]` and `[R, out]` that the gradient of a weight goes to which has their product in it.
    pub factors: Option<[Tensor<2>; 2]>,
}

impl Linear {
    /// A layer without factors.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight, bias, factors: None }
    }

    /// Adds the product of factors `[in, R]` and `[R, out]` to the weight.
    ///
    /// With `apart`, and if the factors are trained, the weight stays plain and they are kept beside it: what
    /// differentiates the layer then need not make a gradient of the weight's size.
    pub fn add_product(&mut self, a: Tensor<2>, b: Tensor<2>, apart: bool) {
        let product = a.clone().matmul(b.clone());
        if !apart || self.weight.is_autodiff() || !product.is_autodiff() {
            self.weight = self.weight.clone() + product;
            return;
        }
        self.weight = self.weight.clone() + product.inner();
        self.factors = Some(match self.factors.take() {
            Some([own_a, own_b]) => [Tensor::cat(vec![own_a, a], 1), Tensor::cat(vec![own_b, b], 0)],
            None => [a, b],
        });
    }

    /// Applies the layer. The weight decides in which precision is multiplied; input, bias and output share theirs.
    ///
    /// # Shapes
    /// - input: `[B, T, in]`
    /// - output: `[B, T, out]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let weight = self.differentiable_weight();
        if weight.dtype() == input.dtype() {
            return module::linear(input, weight, self.bias.clone());
        }
        let output = in_groups(input, &weight);
        match &self.bias {
            Some(bias) => output + bias.clone().unsqueeze::<3>(),
            None => output,
        }
    }

    /// The weight in a form whose gradient reaches the factors.
    fn differentiable_weight(&self) -> Tensor<2> {
        let product = self.factors.as_ref().map(|[a, b]| a.clone().matmul(b.clone()));
        match product.filter(Tensor::is_autodiff) {
            Some(product) => self.weight.clone() + (product.clone() - product.inner()),
            None => self.weight.clone(),
        }
    }
}

/// Images whose rows are multiplied together. The gradient of the weight is a sum over all rows: over all at once it is
/// a product of few tiles and a very long sum, which leaves most of a GPU idle; in groups there are as many more tiles.
const GROUP: usize = 16;

/// `input · weight` in the weight's precision, `[B, T, out]`.
fn in_groups(input: Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    let [batch, tokens, width] = input.dims();
    let (own, inner) = (input.dtype(), weight.dtype());
    let group = if batch.is_multiple_of(GROUP) { GROUP } else { batch };
    let rows = input.cast(FloatDType::from(inner)).reshape([batch / group, group * tokens, width]);
    let output = rows.matmul(weight.clone().unsqueeze::<3>());
    output.reshape([batch, tokens, weight.dims()[1]]).cast(FloatDType::from(own))
}

/// Layer norm over the last axis with a learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Scale, `[D]`.
    pub weight: Tensor<1>,
    /// Shift, `[D]`.
    pub bias: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Applies the layer.
    ///
    /// # Shapes
    /// - input and output: `[B, T, D]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        module::layer_norm(input, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::device::{OpenDevice, block_on, read};

    #[test]
    fn factors_get_the_same_gradients_beside_the_weight_as_in_it() {
        let device = OpenDevice::cpu();
        let values = |count: usize| (0..count).map(|i| (i * 7 % 11) as f32 * 0.1 - 0.4).collect::<Vec<f32>>();
        let matrix = |rows: usize, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values(rows * columns), [rows, columns]), &device.plain)
        };
        let input = Tensor::<3>::from_data(TensorData::new(values(24), [2, 3, 4]), &device.plain);
        let gradients = |apart: bool| {
            let [one, two, three] =
                [matrix(4, 2), matrix(2, 5), matrix(4, 1)].map(|a| a.autodiff().require_grad());
            let mut layer = Linear::new(matrix(4, 5), None);
            layer.add_product(one.clone(), two.clone(), apart);
            layer.add_product(three.clone(), matrix(1, 5), apart);
            assert_eq!(layer.factors.is_some(), apart);
            let output = layer.forward(input.clone());
            let mut found = (output.clone() * output.clone()).sum().backward();
            let mut all = block_on(read(output.inner())).expect("reads back");
            for factor in [one, two, three] {
                let gradient = factor.grad_remove(&mut found).expect("has a gradient");
                all.extend(block_on(read(gradient)).expect("reads back"));
            }
            all
        };
        let (inside, beside) = (gradients(false), gradients(true));
        assert!(inside.iter().any(|value| value.abs() > 0.1));
        assert!(inside.iter().zip(&beside).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
