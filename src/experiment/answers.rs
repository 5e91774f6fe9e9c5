//! The paper's questions, answered in words from the numbers.

use super::{
    markdown::points,
    plan::Shots,
    statistics::Interval,
    summary::{Block, Summary},
    weights::{Composition, correlation},
};
use crate::methods::registry::Method;

/// One paragraph per question, most with a list.
pub fn answers(summary: &Summary) -> Vec<String> {
    let mut text = vec![
        against(summary, "the linear probe", Method::LinearProbe),
        against(summary, "a LoRA from scratch", Method::Lora),
        against(summary, "full fine-tuning", Method::Full),
        random_modules(summary),
    ];
    text.extend(start_of_a_lora(summary));
    text.extend(related(summary));
    text
}

/// A question, its answer and what the answer rests on.
fn paragraph(question: &str, answer: &str, parts: &[String]) -> String {
    let list: String = parts.iter().map(|part| format!("\n- {part}")).collect();
    format!("**{question}** {answer}{}{list}", if parts.is_empty() { "" } else { "\n" })
}

/// Whether the two compositions of the paper beat another method, at which numbers of shots.
fn against(summary: &Summary, name: &str, other: Method) -> String {
    let question = format!("Does composition beat {name}?");
    let compositions = [Method::Uniform, Method::Learned];
    let found = verdicts_of(summary, &compositions, other);
    let were_run =
        summary.methods.contains(&other) && compositions.iter().any(|own| summary.methods.contains(own));
    let open = match were_run {
        true => "There are too few pairs of runs to say so; an interval needs two.",
        false => "They were not both run.",
    };
    paragraph(&question, found.in_short().unwrap_or(open), &found.parts)
}

/// Whether a LoRA is better trained on top of a composition than on the base model, where that was run.
fn start_of_a_lora(summary: &Summary) -> Option<String> {
    let methods = [Method::UniformLora, Method::UniformScaledLora, Method::LearnedLora];
    let found = verdicts_of(summary, &methods, Method::Lora);
    let answer = format!("{} Over `lora`:", found.in_short()?);
    Some(paragraph("Is a composition a better start for a LoRA than the base model?", &answer, &found.parts))
}

/// Where several methods are ahead, behind or neither.
#[derive(Default)]
struct Verdicts {
    ahead: usize,
    behind: usize,
    level: usize,
    /// What there is to say of each method that was run in pairs.
    parts: Vec<String>,
}

impl Verdicts {
    /// The answer before its details; `None` where nothing was run in pairs.
    fn in_short(&self) -> Option<&'static str> {
        Some(match (self.ahead, self.behind, self.level) {
            (0, 0, 0) => return None,
            (_, 0, 0) => "Yes, wherever it was run.",
            (0, 0, _) => "Not clearly: every interval holds zero.",
            (0, _, _) => "No.",
            (_, 0, _) => "In part: it is never clearly behind.",
            _ => "It depends: in some places it is ahead, in others behind.",
        })
    }
}

fn verdicts_of(summary: &Summary, methods: &[Method], other: Method) -> Verdicts {
    let mut found = Verdicts::default();
    methods.iter().for_each(|&method| verdicts(summary, method, other, &mut found));
    found
}

/// "`learned` is ahead at 1 (...), is behind at full (...), cannot be told apart (...) at 5 (...)".
fn verdicts(summary: &Summary, method: Method, other: Method, found: &mut Verdicts) {
    let (mut ahead, mut behind, mut level) = (Vec::new(), Vec::new(), Vec::new());
    for block in summary.plain() {
        let Some(interval) = block.row(method).and_then(|row| row.over(other)) else { continue };
        let text = format!("{} ({})", block.shots.words(), points(Some(interval)));
        match interval {
            one if one.crosses_zero() => level.push(text),
            one if one.mean > 0.0 => ahead.push(text),
            _ => behind.push(text),
        }
    }
    let part =
        |words: &str, own: &[String]| (!own.is_empty()).then(|| format!("{words} at {}", own.join(", ")));
    let parts = [
        part("is ahead", &ahead),
        part("is behind", &behind),
        part("cannot be told apart (the interval holds zero)", &level),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        found.parts.push(format!("`{}` {}.", method.name(), parts.join("; ")));
    }
    found.ahead += ahead.len();
    found.behind += behind.len();
    found.level += level.len();
}

/// How much of the gain random modules of the same norm explain.
fn random_modules(summary: &Summary) -> String {
    let question = "How much of the gain do random modules of the same norm explain?";
    let has = |block: &&Block| {
        block.row(Method::RandomModules).is_some()
            && block.row(Method::Learned).is_some_and(|row| row.over(Method::LinearProbe).is_some())
    };
    let of = |block: &Block| {
        let gain = block.row(Method::RandomModules).and_then(|row| row.over(Method::LinearProbe));
        match block.random_share {
            Some(share) => format!(
                "{}: {:.0} % [{:.0} %, {:.0} %], {} points over the probe.",
                block.shots.words(),
                100.0 * share.mean,
                100.0 * share.low,
                100.0 * share.high,
                points(gain)
            ),
            None => format!(
                "{}: `learned` has no clear gain that could be shared; random modules are {} points over the probe.",
                block.shots.words(),
                points(gain)
            ),
        }
    };
    let parts: Vec<String> = summary.plain().filter(has).map(of).collect();
    match parts.is_empty() {
        true => {
            paragraph(question, "`learned`, `random-modules` and `linear-probe` were not all run.", &parts)
        }
        false => paragraph(question, "Of the gain of `learned`:", &parts),
    }
}

/// Which modules get weight, and whether those are the similar ones.
fn related(summary: &Summary) -> Option<String> {
    let at = main_shots(summary)?;
    let own: Vec<&Composition> = summary.compositions.iter().filter(|one| one.shots == at).collect();
    let parts: Vec<String> = own.iter().filter_map(|one| favourite(one)).collect();
    if parts.is_empty() {
        return None;
    }
    let follows = follows(correlation(&summary.compositions, at));
    let answer = format!("{follows}Mean weights at {}:", at.words());
    Some(paragraph("Does learning prefer related modules?", &answer, &parts))
}

/// Whether weights follow similarity, and whether to the task rather than to all tasks.
fn follows((own, preferred): (Option<Interval>, Option<Interval>)) -> String {
    let Some(mean) = own else { return String::new() };
    let verdict = match (mean, preferred) {
        (own, _) if own.crosses_zero() => "Not clearly",
        (own, _) if own.mean < 0.0 => "No, similar modules get less weight",
        (_, Some(preferred)) if preferred.low <= 0.0 => {
            "Not clearly: similar modules get more weight, but those that are similar to the other tasks get as much"
        }
        _ => "Yes, similar modules get more weight",
    };
    let text = format!(
        "{verdict}: rank correlation over modules of CKA with the task's own model and weight {} over {} runs",
        interval(mean),
        mean.count
    );
    let control =
        |preferred| format!(", higher than with the CKA of the other tasks by {}", interval(preferred));
    format!("{text}{}. ", preferred.map_or(String::new(), control))
}

fn interval(one: Interval) -> String {
    format!("{:+.2} [{:+.2}, {:+.2}]", one.mean, one.low, one.high)
}

fn favourite(one: &Composition) -> Option<String> {
    let modules = one.ordered();
    let (first, last) = (modules.first()?, modules.last()?);
    let even = 1.0 / modules.len() as f32;
    Some(format!(
        "{}: most `{}` ({:.2} times its even share), least `{}` ({:.2} times), as if {:.1} of {} modules counted over all layers and {:.1} in one.",
        one.task,
        first.0,
        first.1 / even,
        last.0,
        last.1 / even,
        one.effective_modules,
        modules.len(),
        one.effective_in_a_layer
    ))
}

/// The number of shots that details are shown for: 5 where it was run, else the largest below `full`.
pub fn main_shots(summary: &Summary) -> Option<Shots> {
    let all: Vec<Shots> = summary.plain().map(|block| block.shots).collect();
    let five = Shots::PerClass(5);
    let counted = || all.iter().copied().filter(|shots| *shots != Shots::Full).max();
    if all.contains(&five) { Some(five) } else { counted().or(all.first().copied()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::results::tests::run;

    fn text(learned: f64, spread: f64) -> String {
        let mut runs = Vec::new();
        for seed in 0..4 {
            let base = 0.5 + seed as f64 * 0.01;
            let noise = if seed % 2 == 0 { spread } else { -spread };
            runs.push(run("a", 5, seed, Method::LinearProbe, base));
            runs.push(run("a", 5, seed, Method::Lora, base));
            runs.push(run("a", 5, seed, Method::Learned, base + learned + noise));
            runs.push(run("a", 5, seed, Method::RandomModules, base + 0.02));
            runs.push(run("a", 5, seed, Method::UniformLora, base + 0.05 + noise));
        }
        answers(&Summary::new(&runs)).join("\n")
    }

    #[test]
    fn weights_follow_the_task_only_if_not_other_tasks_as_well() {
        let of = |mean: f64| Interval { mean, low: mean - 0.1, high: mean + 0.1, count: 25 };
        let said = |own, preferred: Option<f64>| follows((Some(of(own)), preferred.map(of)));
        assert!(said(0.3, Some(0.2)).starts_with("Yes"));
        assert!(said(0.3, None).starts_with("Yes"));
        for preferred in [0.05, -0.3] {
            assert!(
                said(0.3, Some(preferred)).starts_with("Not clearly: similar modules get more weight, but")
            );
        }
        assert!(said(0.05, Some(0.2)).starts_with("Not clearly: rank"));
        assert!(said(-0.3, Some(0.2)).starts_with("No, similar"));
        assert_eq!(follows((None, None)), "");
    }

    #[test]
    fn the_words_follow_the_interval() {
        let ahead = text(0.1, 0.01);
        assert!(ahead.contains("`learned` is ahead at 5 shots (+10.0"), "{ahead}");
        assert!(ahead.contains("Over `lora`:\n\n- `uniform+lora` is ahead at 5 shots (+5.0"), "{ahead}");
        assert!(ahead.contains("beat the linear probe?** Yes, wherever"), "{ahead}");
        assert!(ahead.contains("\n- 5 shots: 20 % ["), "{ahead}");
        assert!(ahead.contains("beat full fine-tuning?** They were not both run"), "{ahead}");
        let behind = text(-0.1, 0.01);
        assert!(behind.contains("probe?** No.\n\n- `learned` is behind at 5 shots"), "{behind}");
        let level = text(0.0, 0.2);
        assert!(level.contains("cannot be told apart") && level.contains("no clear gain"), "{level}");
    }
}
