//! What a saved task says of labelled images: accuracy by class, and the mistakes it was surest of.

use std::path::Path;

use loraloom::{
    block_on,
    error::Result,
    report::{Accuracy, Prediction, count},
    session::{Session, files::Selection},
};
use serde::Serialize;

use super::{Outcome, adapt::load, args::PredictArgs, output, tables};

/// So many mistakes are printed.
const SHOWN: usize = 5;

/// Answers about labelled images.
#[derive(Serialize)]
struct Scores {
    classes: Vec<String>,
    accuracy: Accuracy,
    /// Counts of (class, answer), `[C][C]`.
    confusion: Vec<Vec<usize>>,
    /// Of the images that are left where `--unsure` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sure: Option<Sure>,
    images: Vec<Scored>,
}

#[derive(Serialize)]
struct Sure {
    /// The least probability of an answer that counts.
    at_least: f32,
    accuracy: Accuracy,
}

#[derive(Serialize)]
struct Scored {
    /// Index of the class that the image is of.
    class: usize,
    #[serde(flatten)]
    prediction: Prediction,
}

impl Scored {
    fn answer(&self) -> usize {
        self.prediction.top[0].index
    }

    fn is_right(&self) -> bool {
        self.answer() == self.class
    }
}

/// Measures a task on the images of class folders.
///
/// # Errors
/// No image can be read, a folder is named after no class of the task, or the device was lost.
pub fn run(session: &Session, dir: &Path, arguments: &PredictArgs) -> Result<Outcome> {
    let mut warnings = Vec::new();
    let test = load(session, dir, Some(&session.model().labels), Selection::All, &mut warnings)?;
    let predictions = block_on(session.classify(&test.examples, usize::MAX))?;
    let labels = test.examples.iter().map(|example| example.class);
    let images: Vec<Scored> =
        labels.zip(predictions).map(|(class, prediction)| Scored { class, prediction }).collect();
    let scores = Scores::new(test.classes, images, arguments.answers.unsure);
    scores.print();
    output::json(arguments.answers.compute.json.as_deref(), &scores)?;
    let rows = scores.images.iter().map(|own| (&own.prediction, Some(scores.classes[own.class].as_str())));
    output::csv(arguments.answers.csv.as_deref(), rows, arguments.top)?;
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

fn share(Accuracy { correct, total, value, low, high }: &Accuracy) -> String {
    let [value, low, high] = [value, low, high].map(|share| 100.0 * share);
    let of = count(*total, "image", "images");
    format!("{value:.1} % (95 % interval {low:.0}-{high:.0}): {correct} of {of}")
}

impl Scores {
    fn new(classes: Vec<String>, images: Vec<Scored>, unsure: Option<f32>) -> Self {
        let mut confusion = vec![vec![0; classes.len()]; classes.len()];
        images.iter().for_each(|own| confusion[own.class][own.answer()] += 1);
        let accuracy = |enough| {
            let sure = images.iter().filter(|own| own.prediction.is_sure(enough));
            let answers: Vec<bool> = sure.map(Scored::is_right).collect();
            Accuracy::new(answers.iter().filter(|right| **right).count(), answers.len())
        };
        let sure = unsure.map(|at_least| Sure { at_least, accuracy: accuracy(unsure) });
        Self { accuracy: accuracy(None), classes, confusion, sure, images }
    }

    fn print(&self) {
        output::print(&format!("accuracy {}", share(&self.accuracy)));
        if let Some(Sure { at_least, accuracy }) = &self.sure {
            let (sure, percent) = (accuracy.total, 100.0 * at_least);
            let right = if sure == 0 { String::new() } else { format!(", accuracy {}", share(accuracy)) };
            output::print(&format!("sure (at least {percent:.1} %) of {sure}{right}"));
        }
        output::print("");
        tables::table(&self.rows());
        let mut mistakes: Vec<&Scored> = self.images.iter().filter(|own| !own.is_right()).collect();
        mistakes.sort_by(|a, b| b.prediction.top[0].probability.total_cmp(&a.prediction.top[0].probability));
        if !mistakes.is_empty() {
            output::print("\nmistakes, the surest first:");
        }
        for own in mistakes.iter().take(SHOWN) {
            let (best, class) = (&own.prediction.top[0], &self.classes[own.class]);
            let (image, sure) = (&own.prediction.image, 100.0 * best.probability);
            let line = format!("{image}: {} {sure:.1} %, is {class}", best.label);
            output::print(&output::escaped(&line));
        }
    }

    /// Per class how many images are right, and what the others are taken for most often.
    fn rows(&self) -> Vec<[String; 4]> {
        let head = ["class", "images", "right", "most often taken for"].map(String::from);
        let row = |(class, counts): (usize, &Vec<usize>)| {
            let images: usize = counts.iter().sum();
            let others = counts.iter().enumerate().filter(|(other, count)| *other != class && **count > 0);
            // Of equals the first one.
            let worst = others.rev().max_by_key(|(_, count)| **count);
            [
                self.classes[class].clone(),
                images.to_string(),
                Some(images).filter(|images| *images > 0).map_or("-".into(), |images| {
                    format!("{:.1} %", 100.0 * counts[class] as f64 / images as f64)
                }),
                worst.map_or("-".into(), |(other, count)| format!("{} ({count})", self.classes[other])),
            ]
        };
        std::iter::once(head).chain(self.confusion.iter().enumerate().map(row)).collect()
    }
}
