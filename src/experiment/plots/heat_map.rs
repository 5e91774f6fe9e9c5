//! Composition weights as a heat map: modules across, layers down.

use plotters::{
    prelude::{FontTransform, Rectangle, Text},
    style::{Color, RGBColor, text_anchor::HPos},
};

use super::{Area, Drawn, text};
use crate::report::CoefficientReport;

const CELL: (i32, i32) = (40, 11);
const LEFT: i32 = 120;
const TOP: i32 = 130;
const BELOW: i32 = 64;

/// Size of the picture in pixels.
pub fn size(report: &CoefficientReport) -> (u32, u32) {
    let (columns, rows) = (report.modules.len() as i32, report.groups.len() as i32);
    ((LEFT + columns.max(6) * CELL.0 + 24) as u32, (TOP + rows * CELL.1 + BELOW) as u32)
}

/// Draws the cells; white is no weight, the darkest colour the largest one.
pub fn draw(area: &Area, report: &CoefficientReport) -> Drawn {
    let largest = report.weights.iter().flatten().fold(1e-9f32, |largest, weight| largest.max(weight.abs()));
    for (row, weights) in report.weights.iter().enumerate() {
        let y = TOP + row as i32 * CELL.1;
        let name = report.groups.get(row).map_or("", String::as_str);
        area.draw(&Text::new(name, (LEFT - 6, y + CELL.1 / 2), text(10, HPos::Right)))?;
        for (column, weight) in weights.iter().enumerate() {
            let x = LEFT + column as i32 * CELL.0;
            let corners = [(x, y), (x + CELL.0 - 1, y + CELL.1 - 1)];
            area.draw(&Rectangle::new(corners, shade(weight / largest).filled()))?;
        }
    }
    for (column, name) in report.modules.iter().enumerate() {
        let place = (LEFT + column as i32 * CELL.0 + CELL.0 / 2, TOP - 8);
        let style = text(12, HPos::Left).transform(FontTransform::Rotate270);
        area.draw(&Text::new(name.as_str(), place, style))?;
    }
    let even = 1.0 / report.modules.len().max(1) as f32;
    scale(area, TOP + report.groups.len() as i32 * CELL.1 + 16, largest, even)
}

/// From white to dark blue, and to dark red below zero.
fn shade(part: f32) -> RGBColor {
    let dark = if part < 0.0 { [120.0, 10.0, 20.0] } else { [8.0, 48.0, 107.0] };
    let mix = |channel: usize| (255.0 + (dark[channel] - 255.0) * part.abs().min(1.0)) as u8;
    RGBColor(mix(0), mix(1), mix(2))
}

fn scale(area: &Area, y: i32, largest: f32, even: f32) -> Drawn {
    for step in 0..100 {
        let x = LEFT + step * 2;
        area.draw(&Rectangle::new([(x, y), (x + 2, y + 12)], shade(step as f32 / 99.0).filled()))?;
    }
    area.draw(&Text::new("0", (LEFT, y + 24), text(11, HPos::Left)))?;
    area.draw(&Text::new(format!("{largest:.3}"), (LEFT + 200, y + 24), text(11, HPos::Right)))?;
    area.draw(&Text::new(format!("even: {even:.3}"), (LEFT - 6, y + 6), text(11, HPos::Right)))?;
    Ok(())
}
