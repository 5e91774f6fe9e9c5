//! CKA between a module and the task against the weight that the module gets.

use plotters::{
    prelude::{ChartBuilder, Circle, Text},
    style::{Color, text_anchor::HPos},
};

use super::{Area, COLORS, Drawn, INK, text};
use crate::experiment::weights::Composition;

/// Width of the legend in pixels.
const LEGEND: u32 = 150;

/// Draws one point per task and module; a weight of 1 is an even share.
pub fn draw(area: &Area, compared: &[&Composition]) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let (left, right) = area.split_horizontally(width - LEGEND);
    let point = |one: &Composition| -> Vec<(f64, f64)> {
        let count = one.similarity.len() as f64;
        one.similarity.iter().map(|module| (module.cka, module.weight * count)).collect()
    };
    let all: Vec<(f64, f64)> = compared.iter().flat_map(|one| point(one)).collect();
    let ends = |values: &dyn Fn(&(f64, f64)) -> f64| {
        let (low, high) = all.iter().map(values).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        let margin = (0.06 * (high - low)).max(0.01);
        low - margin..high + margin
    };
    let mut chart = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(ends(&|point| point.0), ends(&|point| point.1))?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| format!("{x:.2}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .x_desc("CKA of the module with the task's own model")
        .y_desc("weight, in even shares")
        .label_style(text(13, HPos::Center))
        .light_line_style(INK.mix(0.06))
        .bold_line_style(INK.mix(0.15))
        .draw()?;
    for (index, one) in compared.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        chart.draw_series(
            point(one).into_iter().map(|point| Circle::new(point, 5, color.mix(0.8).filled())),
        )?;
        let y = 30 + 24 * index as i32;
        right.draw(&Circle::new((14, y), 5, color.filled()))?;
        right.draw(&Text::new(one.task.as_str(), (28, y), text(14, HPos::Left)))?;
    }
    Ok(())
}
