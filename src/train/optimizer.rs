//! AdamW with a learning rate and weight decay per parameter, and clipping by the global norm.
//!
//! burn's optimiser clips per tensor and has one rate for all; here the norm is taken over all
//! parameters, as PyTorch's `clip_grad_norm_` does, and stays on the device: no read-back.

use burn::tensor::Tensor;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Learning rate and weight decay of one parameter at one step.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

/// State of AdamW (Loshchilov and Hutter, 2019) over a list of matrices.
#[derive(Clone, Debug, Default)]
pub struct AdamW {
    /// Running means of the gradient and of its square, one pair per parameter that had a gradient.
    pub moments: Vec<Option<(Tensor<2>, Tensor<2>)>>,
    /// Steps taken.
    pub steps: i32,
}

impl AdamW {
    /// Updates `values` in place. A parameter without a gradient is left alone.
    ///
    /// `clip` is the largest global norm of the gradients; larger ones are scaled down to it.
    pub fn step(
        &mut self,
        values: &mut [Tensor<2>],
        gradients: Vec<Option<Tensor<2>>>,
        rates: &[Rate],
        clip: f64,
    ) {
        self.steps += 1;
        self.moments.resize(values.len(), None);
        let Some(factor) = clip_factor(&gradients, clip) else { return };
        for (index, gradient) in gradients.into_iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let gradient = gradient * factor.clone();
            values[index] = self.update(index, values[index].clone(), gradient, rates[index]);
        }
    }

    fn update(&mut self, index: usize, value: Tensor<2>, gradient: Tensor<2>, rate: Rate) -> Tensor<2> {
        let square = gradient.clone() * gradient.clone();
        let (first, second) = match self.moments[index].take() {
            Some((first, second)) => {
                (first * BETA1 + gradient * (1.0 - BETA1), second * BETA2 + square * (1.0 - BETA2))
            }
            None => (gradient * (1.0 - BETA1), square * (1.0 - BETA2)),
        };
        let bias1 = 1.0 - BETA1.powi(self.steps);
        let bias2 = 1.0 - BETA2.powi(self.steps);
        let denominator = (second.clone() / bias2).sqrt() + EPSILON;
        let update = first.clone() * (rate.learning_rate / bias1) / denominator;
        self.moments[index] = Some((first, second));
        value * (1.0 - rate.learning_rate * rate.weight_decay) - update
    }
}

/// `min(1, clip / norm)` as a `[1, 1]` tensor; `None` when there is no gradient at all.
fn clip_factor(gradients: &[Option<Tensor<2>>], clip: f64) -> Option<Tensor<2>> {
    let squares = gradients.iter().flatten().map(|gradient| (gradient.clone() * gradient.clone()).sum());
    let total: Tensor<1> = squares.reduce(|total, square| total + square)?;
    let factor = (total.sqrt() + 1e-6).recip() * clip;
    Some(factor.clamp_max(1.0).reshape([1, 1]))
}

/// Linear warm-up over a part of the steps (`warmup`, 0 to 1), then a cosine to zero; a factor between 0 and 1.
pub fn schedule(step: usize, num_steps: usize, warmup: f64) -> f64 {
    let warmup = ((warmup * num_steps as f64) as usize).max(1);
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let progress = (step - warmup) as f64 / (num_steps - warmup).max(1) as f64;
    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn read(tensor: &Tensor<2>) -> Vec<f32> {
        let data = crate::device::block_on(tensor.clone().into_data_async()).expect("a CPU tensor");
        data.iter::<f32>().collect()
    }

    /// torch.optim.AdamW on one parameter [1, -2], gradients [0.3, -0.4] twice, lr 0.1, decay 0.01.
    #[test]
    fn it_follows_pytorch() {
        let device = Device::flex();
        let mut values = vec![Tensor::<2>::from_floats([[1.0, -2.0]], &device)];
        let rates = [Rate { learning_rate: 0.1, weight_decay: 0.01 }];
        let mut optimizer = AdamW::default();
        for _ in 0..2 {
            let gradient = Tensor::<2>::from_floats([[0.3, -0.4]], &device);
            optimizer.step(&mut values, vec![Some(gradient)], &rates, 1.0);
        }
        let expected = [1.0 - 0.001 - 0.1 - 0.000_899 - 0.1, -2.0 + 0.002 + 0.1 + 0.001_898 + 0.1];
        for (found, expected) in read(&values[0]).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn clipping_scales_by_the_global_norm() {
        let device = Device::flex();
        let gradients = [
            Some(Tensor::<2>::from_floats([[3.0]], &device)),
            None,
            Some(Tensor::<2>::from_floats([[0.0, 4.0]], &device)),
        ];
        let factor = clip_factor(&gradients, 1.0).expect("two gradients");
        assert!((read(&factor)[0] - 0.2).abs() < 1e-5);
        let loose = clip_factor(&gradients, 10.0).expect("two gradients");
        assert_eq!(read(&loose)[0], 1.0);
        assert!(clip_factor(&[None], 1.0).is_none());
    }

    #[test]
    fn the_schedule_warms_up_and_ends_near_zero() {
        let factors: Vec<f64> = (0..40).map(|step| schedule(step, 40, 0.1)).collect();
        assert_eq!(factors[0], 0.25);
        assert_eq!(factors[3], 1.0);
        assert!(factors[4..].windows(2).all(|pair| pair[1] < pair[0]));
        assert!(factors[39] > 0.0 && factors[39] < 0.01);
        assert_eq!(schedule(0, 1, 0.1), 1.0);
    }
}
