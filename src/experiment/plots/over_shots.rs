//! A number of every method over shots, the methods in panels by what they do with the modules.

use plotters::{
    prelude::{ChartBuilder, Circle, DashedLineSeries, LineSeries, PathElement, Text},
    style::{Color, RGBColor, text_anchor::HPos},
};

use super::{Area, COLORS, Drawn, INK, text};
use crate::{
    experiment::summary::{Block, Row, Summary},
    methods::registry::Method,
};

/// All methods but the linear probe, which every panel shows.
const GROUPS: [(&str, &[Method]); 4] = [
    (
        "Composition",
        &[
            Method::Uniform,
            Method::UniformScaled,
            Method::Learned,
            Method::LearnedScaled,
            Method::LearnedFree,
        ],
    ),
    (
        "A LoRA on top of a composition",
        &[Method::UniformLora, Method::UniformScaledLora, Method::LearnedLora],
    ),
    ("Without modules", &[Method::NearestMean, Method::Lora, Method::Full]),
    ("Other ways to use modules", &[Method::BestModule, Method::RandomModules, Method::LoraHub]),
];

/// Width of a picture and height of a panel in pixels.
const SIZE: (u32, u32) = (960, 360);

/// Room for a panel's title and legend, and how its entries are set, in pixels.
const LEGEND: (u32, i32, i32) = (82, 150, 20);

/// What is drawn.
pub struct Measure {
    /// Name of the axis.
    pub name: &'static str,
    /// A label of the axis.
    pub label: fn(f64) -> String,
    /// The number of a method with the ends of its interval, alike where there is none.
    pub of: fn(&Row) -> Option<[f64; 3]>,
    /// How far apart the methods of a panel stand at a number of shots, of the distance between two numbers, so that
    /// their intervals do not hide each other.
    pub apart: f64,
    /// The number of the linear probe.
    pub probe: fn(&Block) -> Option<f64>,
}

/// Mean test accuracy in percent.
pub const ACCURACY: Measure = Measure {
    name: "test accuracy",
    label: |y| format!("{y:.0} %"),
    of: |row| Some([100.0 * row.accuracy; 3]),
    apart: 0.0,
    probe: |block| Some(100.0 * block.row(Method::LinearProbe)?.accuracy),
};

/// Paired difference from the linear probe in points, with its interval over (task, seed).
pub const GAIN: Measure = Measure {
    name: "points over linear-probe",
    label: |y| if y.abs() < 0.5 { "0".into() } else { format!("{y:+.0}") },
    of: |row| {
        row.over(Method::LinearProbe).map(|gain| [gain.mean, gain.low, gain.high].map(|share| 100.0 * share))
    },
    apart: 0.1,
    probe: |_| Some(0.0),
};

/// A group's title, and what there is of its methods: points of the number of shots' place and the value.
type Panel = (&'static str, Vec<(Method, Vec<(f64, [f64; 3])>)>);

/// The panels that have something to show.
pub fn panels(summary: &Summary, measure: &Measure) -> Vec<Panel> {
    let line = |&method: &Method| {
        let value = |(x, block): (usize, &Block)| {
            Some((x as f64, block.row(method).and_then(|row| (measure.of)(row))?))
        };
        let points: Vec<_> = summary.plain().enumerate().filter_map(value).collect();
        (!points.is_empty()).then_some((method, points))
    };
    let panel = |(title, methods): (&'static str, &[Method])| -> Option<Panel> {
        let lines: Vec<_> = methods.iter().filter_map(line).collect();
        (!lines.is_empty()).then_some((title, lines))
    };
    GROUPS.into_iter().filter_map(panel).collect()
}

/// Size of the picture in pixels.
pub fn size(panels: &[Panel]) -> (u32, u32) {
    let (rows, columns) = grid(panels);
    (SIZE.0 / 2 * columns as u32, SIZE.1 * rows as u32)
}

fn grid(panels: &[Panel]) -> (usize, usize) {
    (panels.len().div_ceil(2), panels.len().min(2))
}

/// Draws the panels, all with the same axes.
pub fn draw(area: &Area, summary: &Summary, measure: &Measure, panels: &[Panel]) -> Drawn {
    let probe = summary.plain().map(measure.probe).enumerate();
    let mut probe: Vec<(f64, f64)> = probe.filter_map(|(x, value)| Some((x as f64, value?))).collect();
    if let [(x, y)] = probe[..] {
        probe = vec![(x - 0.3, y), (x + 0.3, y)];
    }
    let values = panels.iter().flat_map(|(_, lines)| lines.iter().flat_map(|(_, points)| points));
    let ends = values.flat_map(|(_, value)| *value).chain(probe.iter().map(|point| point.1));
    let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), end| (low.min(end), high.max(end)));
    let margin = (0.04 * (high - low)).max(0.5);
    for (panel, place) in panels.iter().zip(area.split_evenly(grid(panels))) {
        draw_panel(&place, summary, measure, panel, &probe, (low - margin, high + margin))?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area,
    summary: &Summary,
    measure: &Measure,
    (title, lines): &Panel,
    probe: &[(f64, f64)],
    (low, high): (f64, f64),
) -> Drawn {
    let (head, body) = area.split_vertically(LEGEND.0);
    legend(&head, title, lines.iter().map(|line| line.0))?;
    let blocks: Vec<&Block> = summary.plain().collect();
    let mut chart = ChartBuilder::on(&body)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.4..blocks.len() as f64 - 0.6, low..high)?;
    let label = |x: &f64| match blocks.get(x.round() as usize) {
        Some(block) if (x - x.round()).abs() < 1e-6 => block.shots.to_string(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(blocks.len())
        .x_label_formatter(&label)
        .y_label_formatter(&|y| (measure.label)(*y))
        .x_desc("training images per class")
        .y_desc(measure.name)
        .label_style(text(13, HPos::Center))
        .max_light_lines(0)
        .bold_line_style(INK.mix(0.15))
        .draw()?;
    chart.draw_series(DashedLineSeries::new(probe.iter().copied(), 6, 4, INK.stroke_width(2)))?;
    for (index, (_, points)) in lines.iter().enumerate() {
        let color = color(index);
        let shift = measure.apart * (index as f64 - (lines.len() - 1) as f64 / 2.0);
        let middle = || points.iter().map(|(x, value)| (x + shift, value[0]));
        let interval = |(x, [_, low, high]): &(f64, [f64; 3])| {
            PathElement::new([(x + shift, *low), (x + shift, *high)], color.mix(0.6).stroke_width(2))
        };
        chart.draw_series(points.iter().map(interval))?;
        chart.draw_series(LineSeries::new(middle(), color.stroke_width(2)))?;
        chart.draw_series(middle().map(|point| Circle::new(point, 4, color.filled())))?;
    }
    Ok(())
}

fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

/// The title, the methods and the linear probe, three in a row.
fn legend(area: &Area, title: &str, methods: impl Iterator<Item = Method>) -> Drawn {
    let (_, width, height) = LEGEND;
    area.draw(&Text::new(title, (14, 22), text(16, HPos::Left)))?;
    let marked = methods.enumerate().map(|(index, method)| (method, Some(color(index))));
    for (place, (method, color)) in marked.chain([(Method::LinearProbe, None)]).enumerate() {
        let (x, y) = (14 + width * (place % 3) as i32, 48 + height * (place / 3) as i32);
        let style = color.unwrap_or(INK).stroke_width(2);
        match color {
            Some(color) => {
                area.draw(&PathElement::new([(x, y), (x + 22, y)], style))?;
                area.draw(&Circle::new((x + 11, y), 4, color.filled()))?;
            }
            None => {
                area.draw(&PathElement::new([(x, y), (x + 9, y)], style))?;
                area.draw(&PathElement::new([(x + 13, y), (x + 22, y)], style))?;
            }
        }
        area.draw(&Text::new(method.name(), (x + 28, y), text(13, HPos::Left)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_but_the_probe_has_one_place() {
        let mut placed: Vec<Method> =
            GROUPS.iter().flat_map(|(_, methods)| methods.iter().copied()).collect();
        placed.push(Method::LinearProbe);
        placed.sort();
        let mut all = Method::ALL.to_vec();
        all.sort();
        assert_eq!(placed, all);
    }
}
