//! Accuracy over shots, one line per method.

use plotters::{
    prelude::{ChartBuilder, Circle, DashedLineSeries, LineSeries, PathElement, Text, TriangleMarker},
    style::{Color, RGBColor, text_anchor::HPos},
};

use super::{Area, COLORS, Drawn, INK, text};
use crate::{
    experiment::{statistics::mean, summary::Summary},
    methods::registry::Method,
};

/// Width of the legend in pixels.
const LEGEND: u32 = 170;

/// Draws the lines; the legend lists the methods by their mean accuracy.
pub fn draw(area: &Area, summary: &Summary) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let (left, right) = area.split_horizontally(width - LEGEND);
    let blocks: Vec<_> = summary.plain().collect();
    let values = || blocks.iter().flat_map(|block| block.rows.iter().map(|row| 100.0 * row.accuracy));
    let (low, high) = values().fold((100.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let range = (low - 3.0).max(0.0)..(high + 3.0).min(100.0);
    let mut chart = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.3..blocks.len() as f64 - 0.7, range)?;
    let label = |x: &f64| match blocks.get(x.round() as usize) {
        Some(block) if (x - x.round()).abs() < 1e-6 => block.shots.to_string(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * blocks.len() + 1)
        .x_label_formatter(&label)
        .y_label_formatter(&|y| format!("{y:.0} %"))
        .x_desc("training images per class")
        .y_desc("test accuracy")
        .label_style(text(13, HPos::Center))
        .light_line_style(INK.mix(0.06))
        .bold_line_style(INK.mix(0.15))
        .draw()?;
    for (index, &method) in summary.methods.iter().enumerate() {
        let points = blocks
            .iter()
            .enumerate()
            .filter_map(|(x, block)| Some((x as f64, 100.0 * block.row(method)?.accuracy)));
        let points: Vec<(f64, f64)> = points.collect();
        let color = COLORS[index % COLORS.len()];
        if is_dashed(index) {
            chart.draw_series(DashedLineSeries::new(points.clone(), 6, 4, color.stroke_width(2)))?;
            chart
                .draw_series(points.into_iter().map(|point| TriangleMarker::new(point, 5, color.filled())))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?;
            chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, color.filled())))?;
        }
    }
    legend(&right, summary)
}

/// The second round of colours is dashed, with triangles.
fn is_dashed(index: usize) -> bool {
    index >= COLORS.len()
}

fn legend(area: &Area, summary: &Summary) -> Drawn {
    let average = |method: Method| {
        let rows = summary.plain().filter_map(|block| block.row(method)).map(|row| row.accuracy);
        mean(&rows.collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let mut order: Vec<(usize, Method)> = summary.methods.iter().copied().enumerate().collect();
    order.sort_by(|a, b| average(b.1).total_cmp(&average(a.1)));
    for (place, (index, method)) in order.into_iter().enumerate() {
        let (y, color) = (30 + 24 * place as i32, COLORS[index % COLORS.len()]);
        mark(area, y, color, is_dashed(index))?;
        area.draw(&Text::new(method.name(), (48, y), text(14, HPos::Left)))?;
    }
    Ok(())
}

fn mark(area: &Area, y: i32, color: RGBColor, dashed: bool) -> Drawn {
    let style = color.stroke_width(2);
    if dashed {
        area.draw(&PathElement::new([(6, y), (16, y)], style))?;
        area.draw(&PathElement::new([(30, y), (40, y)], style))?;
        area.draw(&TriangleMarker::new((23, y), 5, color.filled()))?;
    } else {
        area.draw(&PathElement::new([(6, y), (40, y)], style))?;
        area.draw(&Circle::new((23, y), 4, color.filled()))?;
    }
    Ok(())
}
