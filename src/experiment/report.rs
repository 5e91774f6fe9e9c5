//! `report.md`: the summary as tables and words.

use std::path::Path;

use super::{
    answers::{answers, main_shots},
    markdown::{number, percent, points, table},
    plan::{Draw, Shots},
    plots::plots,
    results::Run,
    settings::{Settings, check_runs},
    shifts::UNEVENNESS,
    statistics::{Interval, Record},
    summary::{Block, CorruptedRow, Difference, REFERENCES, Row, Summary},
    weights::Composition,
};
use crate::{
    error::{Error, Result},
    files::write_atomic,
    methods::registry::Method,
    report::count,
};

/// Writes `report.md` and its plots into a folder of results.
///
/// # Errors
/// The folder holds no runs, or runs of different settings, or a file cannot be written.
pub fn write(dir: &Path, runs: &[Run]) -> Result<Summary> {
    let (settings, hash) = Settings::read(dir)?;
    let name = dir.display().to_string();
    if runs.is_empty() {
        return Err(Error::Dataset { name, reason: "no runs to report; run some first".into() });
    }
    check_runs(dir, runs, &hash)?;
    let summary = Summary::new(runs);
    let mut shown = Vec::new();
    for plot in plots(&summary)? {
        let file = format!("plots/{}", plot.file);
        write_atomic(&dir.join(&file), plot.svg.as_bytes())?;
        shown.push((file, plot.caption));
    }
    write_atomic(&dir.join("report.md"), report(&summary, &settings, &shown).as_bytes())?;
    Ok(summary)
}

/// The report of a folder of results; `shown` are names of pictures beside it with their captions.
pub fn report(summary: &Summary, settings: &Settings, shown: &[(String, String)]) -> String {
    let mut text = format!("# Composition against its rivals on {}\n\n", summary.model);
    text += &setting(summary, settings);
    text += "## In words\n\n";
    answers(summary).iter().for_each(|answer| text += &format!("{answer}\n\n"));
    text += &accuracies(summary, settings);
    text += &records(summary);
    text += &tasks(summary);
    text += &label_shift(summary);
    text += &covariate_shift(summary);
    text += &modules(summary);
    if !shown.is_empty() {
        text += "## Plots\n\n";
        shown.iter().for_each(|(file, caption)| text += &format!("![{caption}]({file})\n\n{caption}\n\n"));
    }
    text
}

fn setting(summary: &Summary, settings: &Settings) -> String {
    let modules: Vec<&str> = settings.modules.iter().map(|module| module.name.as_str()).collect();
    let train = &settings.adapt.train;
    let (fewest, most) = summary.test_images;
    let tests = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    let size = settings.img_size.map_or(String::new(), |side| format!(", input at {side} px"));
    let lines = [
        format!("Runs: {} ({:.1} hours of computing); {}.", summary.runs, summary.hours, missing(summary)),
        format!(
            "Tasks: {}. Seeds: {}. Methods: {}.",
            summary.tasks.join(", "),
            summary.seeds,
            summary.methods.len()
        ),
        format!("Model: sha256 `{}`{size}. Settings: `{}`.", start(&settings.model_sha256), summary.settings),
        format!("Modules: {}.", if modules.is_empty() { "none".into() } else { modules.join(", ") }),
        format!(
            "Training: {} steps of at most {} images ({} steps on all images), {}{}; rates of head {}, logits {}, scales {}, free \
             weights {}, LoRA {}, all weights {}.",
            train.num_steps,
            train.batch_size,
            settings.full_steps,
            match (train.augment, train.mirror) {
                (false, _) => "not augmented",
                (true, false) => "cropped at random",
                (true, true) => "cropped and mirrored at random",
            },
            match settings.adapt.views {
                0 => String::new(),
                views => format!(
                    ", heads on {} of every image besides (40 of a class at most)",
                    count(views, "varied copy", "varied copies")
                ),
            },
            train.head_rate,
            train.logit_rate,
            train.scale_rate,
            train.free_rate,
            train.factor_rate,
            train.full_rate,
        ),
        format!(
            "Tests: {tests} images of a task (at most {}, evenly over the classes), {}. Training and testing \
             choose nothing on them.",
            settings.max_test,
            if settings.adapt.multi_crop {
                "the mean answer over five crops of each"
            } else {
                "each seen whole"
            }
        ),
    ];
    lines.map(|line| format!("- {line}\n")).concat() + &short(summary) + NOTE
}

/// Where a number of shots promises more images than there are.
fn short(summary: &Summary) -> String {
    let part = |(task, shots, images): &(String, Shots, usize)| {
        format!("{task} at {} ({images} images)", shots.words())
    };
    let parts: Vec<String> = summary.short.iter().map(part).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("- Classes with fewer images than asked for give all that they have: {}.\n", parts.join(", "))
}

const NOTE: &str = "
For a seed all methods have the same training images and order, and start from class means of their own starting features.
Differences are paired by (task, seed), in points; brackets hold 95 % intervals: Student's t over the pairs where nothing else
is said. Where every seed takes all images of a task, its pairs are one cluster: they learn from the same images, and count as one
set of them. Pairs of one task resemble each other, so these intervals speak of these tasks, and of the test images that there
are; the intervals over tasks' means speak of tasks like them. Many comparisons are made and none is corrected for that.

";

fn missing(summary: &Summary) -> String {
    let cells = summary.blocks.len() * summary.tasks.len() * summary.seeds;
    match (cells * summary.methods.len()).saturating_sub(summary.runs) {
        0 => "all combinations of the tasks, shots, seeds and methods seen".into(),
        missing => format!(
            "**{missing} are missing** of the combinations of tasks, shots, seeds and methods seen; pairs that lack one \
             are left out"
        ),
    }
}

/// Enough of a hash to tell it from others.
fn start(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// A table with one row per method and one column per number of shots.
fn by_shots(summary: &Summary, cell: &dyn Fn(&Row) -> String) -> String {
    let blocks: Vec<&Block> = summary.plain().collect();
    let mut head = vec!["method".to_string()];
    head.extend(blocks.iter().map(|block| block.shots.words()));
    let row = |method: &Method| {
        let cells = blocks.iter().map(|block| block.row(*method).map_or("-".into(), cell));
        std::iter::once(method.name().to_string()).chain(cells).collect()
    };
    table(&head, &summary.methods.iter().map(row).collect::<Vec<_>>())
}

fn accuracies(summary: &Summary, settings: &Settings) -> String {
    let mut text = format!(
        "## Accuracy over shots\n\nMean test accuracy over tasks and seeds, in percent. {}\n\n",
        kind_of_shift(summary, settings)
    );
    text += &by_shots(summary, &accuracy);
    for from in REFERENCES.into_iter().filter(|from| summary.methods.contains(from)) {
        text += &differences(summary, from);
    }
    text
}

/// Mean accuracy, and of how many runs where others have more.
fn accuracy(row: &Row) -> String {
    match row.missing {
        0 => percent(row.accuracy),
        _ => format!("{} ({})", percent(row.accuracy), count(row.runs, "run", "runs")),
    }
}

/// What the modules know of the tasks, as far as names tell.
fn kind_of_shift(summary: &Summary, settings: &Settings) -> String {
    let is_task = |name: &&str| summary.tasks.iter().any(|task| task == name);
    let modules = settings.modules.iter().map(|module| module.name.as_str());
    let own: Vec<&str> = modules.filter(is_task).collect();
    match own.is_empty() {
        true => "This is task shift: the modules come from other tasks.".into(),
        false => format!(
            "Modules have the names of tasks ({}): if they learned these, the figures flatter every method that composes them; \
             name other modules for these tasks. The rest is task shift.",
            own.join(", ")
        ),
    }
}

fn differences(summary: &Summary, from: Method) -> String {
    let from_it = |row: &Row, of: fn(&Difference) -> Option<Interval>| points(row.against(from).and_then(of));
    let mut text = format!("Difference from `{}`, intervals over (task, seed).\n\n", from.name());
    text += &by_shots(summary, &|row| from_it(row, |difference| difference.over_pairs));
    if summary.tasks.len() > 1 {
        text += "The same, intervals over the means of the tasks.\n\n";
        text += &by_shots(summary, &|row| from_it(row, |difference| difference.over_tasks));
    }
    text
}

fn records(summary: &Summary) -> String {
    let record = |row: &Row, other: Method| match row.against(other).map(|difference| difference.record) {
        None => "-".into(),
        Some(record) if record == Record::default() => "-".into(),
        Some(Record { wins, ties, losses }) => format!("{wins}/{ties}/{losses}"),
    };
    let complete: Vec<String> = summary
        .plain()
        .map(|block| {
            let (complete, pairs, methods) = (block.complete_pairs, block.pairs, block.rows.len());
            format!("{complete} of {pairs} of {methods} methods at {}", block.shots.words())
        })
        .collect();
    let mut text = format!(
        "## Ranks and records\n\nMean rank (1 is best, equal accuracies share) over the (task, seed) that all methods with runs at a number of shots have: \
         {}. Ranks among different numbers of methods cannot be compared.\n\n",
        complete.join(", ")
    );
    text += &by_shots(summary, &|row| number(row.rank, 2));
    for rival in
        [Method::LinearProbe, Method::Lora].into_iter().filter(|rival| summary.methods.contains(rival))
    {
        text += &format!(
            "Wins/ties/losses against `{}`; pairs that learn from the same images count once, by their mean.\n\n",
            rival.name()
        );
        text += &by_shots(summary, &|row| record(row, rival));
    }
    text += "Mean number of trained values.\n\n";
    text += &by_shots(summary, &|row| number(Some(row.trainable_parameters), 0));
    text +=
        "Mean seconds of training; features of frozen weights count for the run that needed them first.\n\n";
    text + &by_shots(summary, &|row| number(Some(row.seconds), 1))
}

fn tasks(summary: &Summary) -> String {
    let mut text = "## Task by task\n\nMean test accuracy over seeds, in percent.\n\n".to_string();
    let mut head = vec!["method".to_string()];
    head.extend(summary.tasks.iter().cloned());
    for block in summary.plain() {
        let of = |task: &String, method: Method| {
            let own = block.tasks.get(task)?.iter().find(|(other, _)| *other == method)?;
            Some(percent(own.1))
        };
        let row = |method: &Method| {
            let cells = summary.tasks.iter().map(|task| of(task, *method).unwrap_or("-".into()));
            std::iter::once(method.name().to_string()).chain(cells).collect()
        };
        let rows: Vec<Vec<String>> = summary.methods.iter().map(row).collect();
        text += &format!("### {}\n\n{}", block.shots.words(), table(&head, &rows));
    }
    text
}

fn label_shift(summary: &Summary) -> String {
    let uneven = summary.blocks.iter().filter(|block| block.draw == Draw::Uneven);
    let mut text = String::new();
    for block in uneven {
        let even = summary.plain().find(|even| even.shots == block.shots);
        text += &format!(
            "## Label shift\n\nAs many training images as {} shots of every class, where the classes have enough, but unequally \
             many per class: a geometric profile whose ends differ by a factor of {UNEVENNESS:.0} before rounding, over the classes in an \
             order that the seed draws. Test images are as they were.\n\n",
            block.shots
        );
        let head = ["method", "even classes", "uneven classes", "uneven: against linear-probe"];
        let row = |row: &Row| {
            let plain = even.and_then(|even| even.row(row.method)).map(accuracy);
            let name = row.method.name().to_string();
            vec![name, plain.unwrap_or("-".into()), accuracy(row), points(row.over(Method::LinearProbe))]
        };
        text += &table(&head.map(String::from), &block.rows.iter().map(row).collect::<Vec<_>>());
    }
    text
}

fn covariate_shift(summary: &Summary) -> String {
    let tables: Vec<String> = summary.corrupted.iter().map(|(shots, rows)| corrupted(*shots, rows)).collect();
    if tables.is_empty() { String::new() } else { format!("## Covariate shift\n\n{}", tables.concat()) }
}

fn corrupted(shots: Shots, found: &[CorruptedRow]) -> String {
    let mut head = vec!["method".to_string()];
    head.extend(found.iter().take(1).flat_map(|first| &first.accuracies).map(|(kind, strength, ..)| {
        match strength {
            0 => kind.name().to_string(),
            strength => format!("{} {strength}", kind.name()),
        }
    }));
    let most = found.iter().map(|row| row.runs).max().unwrap_or(0);
    let rows = |cell: &dyn Fn(f64, Option<Interval>) -> String| -> Vec<Vec<String>> {
        let row = |row: &CorruptedRow| {
            let cells = row.accuracies.iter().map(|(_, _, accuracy, gain)| cell(*accuracy, *gain));
            let name = match row.runs == most {
                true => row.method.name().to_string(),
                false => format!("{} ({})", row.method.name(), count(row.runs, "run", "runs")),
            };
            std::iter::once(name).chain(cells).collect()
        };
        found.iter().map(row).collect()
    };
    format!(
        "The methods at {}, trained on clean images and tested on corrupted ones: severities 1, 3 \
         and 5 of ImageNet-C, on the pixels that the model sees. `clean` are the same test images as they are.\n\n{}\
         Difference from `linear-probe` on the same images.\n\n{}",
        shots.words(),
        table(&head, &rows(&|accuracy, _| percent(accuracy))),
        table(&head, &rows(&|_, gain| points(gain)))
    )
}

fn modules(summary: &Summary) -> String {
    let Some(shots) = main_shots(summary) else { return String::new() };
    let own: Vec<_> = summary.compositions.iter().filter(|one| one.shots == shots).collect();
    let Some(first) = own.first() else { return String::new() };
    let mut head = vec!["module".to_string()];
    head.extend(own.iter().map(|one| one.task.clone()));
    let row = |(index, module): (usize, &String)| {
        let cells =
            own.iter().map(|one| number(one.weights.means.get(index).map(|mean| f64::from(*mean)), 3));
        std::iter::once(module.clone()).chain(cells).collect()
    };
    let mut rows: Vec<Vec<String>> = first.weights.modules.iter().enumerate().map(row).collect();
    let mut counted = |name: &str, of: fn(&Composition) -> f64| {
        let cells = own.iter().map(|one| number(Some(of(one)), 1));
        rows.push(std::iter::once(name.to_string()).chain(cells).collect());
    };
    counted("modules that count over all layers", |one| one.effective_modules);
    counted("modules that count in a layer", |one| one.effective_in_a_layer);
    format!(
        "## Modules\n\nWeights that `learned` gives at {}, means over layers and seeds; an even share is {:.3}. \
         Modules that count: exp(entropy), over all layers of these weights, in a layer of its own weights in one run, the mean of \
         that over layers and runs.\n\n{}",
        shots.words(),
        1.0 / first.weights.modules.len().max(1) as f64,
        table(&head, &rows)
    )
}
