//! Answers about pictures: of the model as it came, and of what methods have learned.

use std::{collections::HashMap, rc::Rc};

use super::{
    Session,
    adapted::Adapted,
    crops::{CROPS, crops_of, mean},
    digest::picture_digest,
};
use crate::{
    dataset::{Dataset, Example},
    error::{Error, Result},
    evaluate,
    head::{argmax, softmax},
    methods::registry::FrozenWeights,
    report::{ClassProbability, Measured, Prediction, TestAnswer, TestReport},
};

impl Session {
    /// The checkpoint's own answers about pictures, whose classes are not looked at.
    ///
    /// # Errors
    /// The checkpoint has no head, an answer is not finite, or the device was lost.
    pub async fn classify(&self, examples: &[Example], top: usize) -> Result<Vec<Prediction>> {
        let head = self.model.head.as_ref().ok_or_else(|| {
            Error::mismatch(
                &*self.model.name,
                "it has no classification head; adapt it to your classes first",
            )
        })?;
        let features = self.own_asked(examples).await?;
        let answer = |(index, example): (usize, &Example)| {
            let logits = head.logits(features.row(index));
            Error::check_finite(&logits, &example.name, "logits")?;
            Ok(prediction(&example.name, &logits, &self.model.labels, top))
        };
        examples.iter().enumerate().map(answer).collect()
    }

    /// What some results, each with the names of its classes, say of a picture that [`Session::crop`] gave.
    ///
    /// Nothing is kept of the picture, and no method that passes its images is waited for: a camera shows ever new ones, while
    /// methods learn. At a `glance` the whole picture is enough, also for results that answer by several crops.
    ///
    /// # Errors
    /// An answer is not finite, or the device was lost.
    pub async fn answers(
        &self,
        results: &[(&Adapted, &[String])],
        example: &Example,
        glance: bool,
    ) -> Result<Vec<Prediction>> {
        let several = !glance && results.iter().any(|(adapted, _)| adapted.multi_crop);
        let crops = if several { crops_of(example)?.to_vec() } else { vec![example.clone()] };
        let digests: Vec<_> = crops.iter().map(|own| picture_digest(&own.crop)).collect();
        let mut passed: HashMap<(FrozenWeights, usize), Rc<[f32]>> = HashMap::new();
        let mut answers = Vec::with_capacity(results.len());
        for (adapted, classes) in results {
            let count = if adapted.multi_crop && !glance { CROPS } else { 1 };
            let shared = self.shared_weights(adapted).map(|own| (own, count));
            let find = |own @ (weights, _)| {
                passed.get(&own).cloned().or_else(|| self.cache.known(weights, &digests[..count]))
            };
            let features = match shared.and_then(find) {
                Some(features) => features,
                None => {
                    let rows = self.features(&adapted.vit, &crops[..count]).await?;
                    mean(&rows.values, rows.dim).into()
                }
            };
            passed.extend(shared.map(|own| (own, features.clone())));
            let logits = adapted.head.logits(&features);
            Error::check_finite(&logits, &example.name, "logits")?;
            answers.push(prediction(&example.name, &logits, classes, classes.len()));
        }
        Ok(answers)
    }

    /// How a result does on test images.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn test(&self, adapted: &Adapted, test: &Dataset) -> Result<TestReport> {
        if test.examples.is_empty() {
            return Ok(TestReport::default());
        }
        let features = self.asked_features(adapted, &test.examples).await?;
        let accuracy = evaluate::accuracy(&adapted.head, &features);
        let answer = |(index, example): (usize, &Example)| TestAnswer {
            image: example.name.clone(),
            class: example.class,
            probabilities: softmax(&adapted.head.logits(features.row(index))),
        };
        Ok(TestReport {
            test_accuracy: Some(accuracy.value),
            test_interval: Some([accuracy.low, accuracy.high]),
            confusion: Some(evaluate::confusion(&adapted.head, &features)),
            answers: Some(test.examples.iter().enumerate().map(answer).collect()),
        })
    }
}

impl Adapted {
    /// The same, measured on test images.
    pub fn tested(&self, tested: &TestReport) -> Self {
        let measured = self.measured.clone().map(|own| Measured {
            test_accuracy: tested.test_accuracy,
            test_interval: tested.test_interval,
            ..own
        });
        Self { measured, ..self.clone() }
    }
}

/// The most probable classes of some logits.
fn prediction(image: &str, logits: &[f32], labels: &[String], top: usize) -> Prediction {
    let mut probabilities = softmax(logits);
    let mut best = Vec::new();
    for _ in 0..top.min(logits.len()) {
        let index = argmax(&probabilities);
        let label = labels.get(index).cloned().unwrap_or_else(|| format!("class {index}"));
        best.push(ClassProbability { label, index, probability: probabilities[index] });
        probabilities[index] = -1.0;
    }
    Prediction { image: image.into(), top: best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::block_on,
        evaluate::logits,
        image::Picture,
        methods::registry::Method,
        session::{config::AdaptConfig, progress::Flow, tiny},
    };

    #[test]
    fn results_that_share_weights_answer_as_each_does_alone_and_nothing_is_kept() {
        let session = tiny::session(&["qv"], 1.0);
        let (height, width) = session.preprocess().input_size();
        let example = |value, class| Example {
            name: format!("{value}.png"),
            class,
            crop: Picture::filled(width, height, [value; 3]),
        };
        let (examples, picture) = ([example(10, 0), example(200, 1)], example(90, 0));
        let config = AdaptConfig::default();
        let methods = [Method::NearestMean, Method::LinearProbe, Method::Uniform];
        let learned = methods.map(|method| {
            block_on(session.arm(method, 2, &config).run(&examples, &mut |_| Flow::GoOn)).expect("learned")
        });
        let names = ["dark".to_string(), "bright".to_string()];
        let asked = learned.each_ref().map(|adapted| (adapted, &names[..]));
        let kept = session.cache.len();
        let answers = block_on(session.answers(&asked, &picture, false)).expect("answers");
        assert_eq!(session.cache.len(), kept);
        for (adapted, answer) in learned.iter().zip(&answers) {
            let features = block_on(session.asked_features(adapted, std::slice::from_ref(&picture)));
            let alone = prediction("90.png", &logits(&adapted.head, &features.expect("features")), &names, 2);
            assert_eq!((answer.top.len(), &answer.top[0].label), (2, &alone.top[0].label));
            let pair = [&answer.top[0], &alone.top[0]].map(|best| best.probability);
            assert!((pair[0] - pair[1]).abs() < 1e-5, "{:?}: {pair:?}", adapted.method);
        }
        assert!(session.cache.len() > kept, "what is known now is not passed again");
        let known = block_on(session.answers(&asked, &picture, false)).expect("answers");
        let glanced = block_on(session.answers(&asked, &picture, true)).expect("answers");
        for (own, other) in known.iter().zip(&answers) {
            assert!((own.top[0].probability - other.top[0].probability).abs() < 1e-5);
        }
        let whole = Adapted { multi_crop: false, ..learned[1].clone() };
        let alone = block_on(session.answers(&[(&whole, &names)], &picture, false)).expect("answers");
        assert!((alone[0].top[0].probability - glanced[1].top[0].probability).abs() < 1e-5);
    }
}
