//! Pictures of a summary as SVG: gains and accuracy over shots, composition weights, CKA against weights.

mod heat_map;
mod over_shots;
mod similarity;

use plotters::{
    coord::Shift,
    prelude::{DrawingArea, IntoDrawingArea, IntoFont, SVGBackend, TextStyle, WHITE},
    style::{
        RGBColor,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{answers::main_shots, summary::Summary};
use crate::error::{Error, Result};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// A picture.
pub struct Plot {
    /// File name.
    pub file: String,
    /// What it shows.
    pub caption: String,
    /// The SVG.
    pub svg: String,
}

/// All pictures that the runs suffice for.
///
/// # Errors
/// The plotting library failed.
pub fn plots(summary: &Summary) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for (file, caption, measure) in [
        (
            "gain.svg",
            "Mean difference from the linear probe against images per class, with 95 % intervals over (task, seed)",
            over_shots::GAIN,
        ),
        (
            "accuracy.svg",
            "Mean test accuracy over tasks and seeds against images per class",
            over_shots::ACCURACY,
        ),
    ] {
        let panels = over_shots::panels(summary, &measure);
        if !panels.is_empty() {
            let drawn =
                svg(over_shots::size(&panels), |area| over_shots::draw(area, summary, &measure, &panels))?;
            plots.push(Plot { file: file.into(), caption: caption.into(), svg: drawn });
        }
    }
    let Some(shots) = main_shots(summary) else { return Ok(plots) };
    for one in summary.compositions.iter().filter(|one| one.shots == shots) {
        plots.push(Plot {
            file: own_file(&plots, &one.task),
            caption: format!(
                "{}: weights that `learned` gives at {}, mean over {} seeds; modules across, layers down",
                one.task,
                shots.words(),
                one.seeds
            ),
            svg: svg(heat_map::size(&one.weights), |area| heat_map::draw(area, &one.weights))?,
        });
    }
    let compared: Vec<_> =
        summary.compositions.iter().filter(|one| one.shots == shots && !one.similarity.is_empty()).collect();
    if !compared.is_empty() {
        plots.push(Plot {
            file: "similarity.svg".into(),
            caption: format!(
                "CKA of each module's features with those of a model trained on the task alone, against the \
                 module's weight in `learned`, at {}",
                shots.words()
            ),
            svg: svg((860, 520), |area| similarity::draw(area, &compared))?,
        });
    }
    Ok(plots)
}

/// A file for a task's composition; names that differ only in what a file name may not hold get a number.
fn own_file(plots: &[Plot], task: &str) -> String {
    let part: String =
        task.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let numbered = (2..).map(|number| format!("composition-{part}-{number}.svg"));
    let mut names = std::iter::once(format!("composition-{part}.svg")).chain(numbered);
    names.find(|name| plots.iter().all(|plot| plot.file != *name)).unwrap_or_default()
}

fn svg(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&area));
    drawn.and_then(|()| Ok(area.present()?)).map_err(|error| Error::mismatch("plot", error.to_string()))?;
    drop(area);
    Ok(text)
}

/// Text of a size in pixels, placed by its right end (or its left one) and its middle.
fn text(size: u32, anchor: HPos) -> TextStyle<'static> {
    let style = ("sans-serif", size).into_font().color(&INK);
    style.pos(Pos::new(anchor, VPos::Center))
}

/// Colour of text and axes.
const INK: RGBColor = RGBColor(40, 40, 40);

/// Okabe and Ito's colours without yellow: told apart by most people.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(70, 70, 70),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        experiment::results::{ModuleCka, Run, tests::run},
        methods::registry::Method,
        report::CoefficientReport,
    };

    fn runs() -> Vec<Run> {
        let modules = vec!["birds & <fish>".to_string(), "digits".into()];
        let groups = vec!["blocks.0.query".to_string(), "blocks.0.fc1".into()];
        let weights = vec![vec![0.25, 0.75], vec![0.5, 0.5]];
        let report = CoefficientReport::new(modules.clone(), groups, weights);
        let cka = |(name, cka): (&String, f32)| ModuleCka { module: name.clone(), cka };
        let cka: Vec<ModuleCka> = modules.iter().zip([0.5, 0.9]).map(cka).collect();
        let mut runs = Vec::new();
        for shots in [1, 5] {
            runs.push(Run {
                composition: Some(report.clone()),
                ..run("a/b", shots, 0, Method::Learned, 0.7)
            });
            runs.push(Run { cka: cka.clone(), ..run("a/b", shots, 0, Method::Lora, 0.6) });
        }
        runs
    }

    #[test]
    fn pictures_are_well_formed_and_name_what_they_show() {
        let plots = plots(&Summary::new(&runs())).expect("drawn");
        let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["accuracy.svg", "composition-a-b.svg", "similarity.svg"]);
        for plot in &plots {
            let document = roxmltree::Document::parse(&plot.svg).expect("XML");
            assert_eq!(document.root_element().tag_name().name(), "svg");
        }
        assert!(plots[0].svg.contains("learned") && plots[0].svg.contains("lora"));
        assert!(plots[1].svg.contains("digits") && plots[1].svg.contains("blocks.0.fc1"));
        assert!(super::plots(&Summary::new(&[])).expect("nothing to draw").is_empty());
    }

    #[test]
    fn gains_are_drawn_where_there_are_pairs_with_a_probe() {
        let of = |method, accuracy: f64| (0..3).map(move |seed| run("a", 5, seed, method, accuracy));
        let probe: Vec<Run> = of(Method::LinearProbe, 0.5).collect();
        assert!(plots(&Summary::new(&probe)).expect("nothing to compare").is_empty());
        let both: Vec<Run> = probe.into_iter().chain(of(Method::Full, 0.7)).collect();
        let plots = plots(&Summary::new(&both)).expect("drawn");
        assert_eq!((plots[0].file.as_str(), plots[1].file.as_str()), ("gain.svg", "accuracy.svg"));
        assert!(plots[0].svg.contains("+20") && plots[0].svg.contains("Without modules"));
        assert!(plots[1].svg.contains("70 %") && !plots[1].svg.contains("lorahub"));
    }
}
