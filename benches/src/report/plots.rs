//! The plots, as SVG: every system a line, the limits of the machine dashed by being grey.

use super::page::size;
use crate::median::{Case, Medians, median};
use crate::placement::Placement;
use crate::probe::Distance;
use crate::record::{Figures, Kind};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// A plot that was drawn.
pub(super) struct Plot {
    pub(super) file: String,
    pub(super) title: String,
}

/// The points of every line, by its name.
pub(super) type Lines<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// What stands on the axes.
struct Axes {
    x: &'static str,
    y: &'static str,
    x_of: fn(&Case) -> f64,
    y_of: fn(&Figures) -> Option<f64>,
    is_x_bytes: bool,
}

/// Draws all for which there are figures.
pub(super) fn draw(medians: &Medians, folder: &Path) -> Result<Vec<Plot>, Box<dyn Error>> {
    let by_len = |case: &Case| case.len as f64;
    let latency =
        Axes { x: "bytes", y: "one way, p50, µs", x_of: by_len, y_of: |f| f.p50_us, is_x_bytes: true };
    let rate = Axes { x: "bytes", y: "GB/s delivered", x_of: by_len, y_of: |f| f.gb_per_s, is_x_bytes: true };
    let cpu = Axes {
        x: "bytes",
        y: "CPU seconds per GB, all processes",
        x_of: by_len,
        y_of: |f| f.cpu_s_per_gb,
        is_x_bytes: true,
    };
    let fan = Axes {
        x: "readers",
        y: "GB/s delivered, 1 MiB",
        x_of: |case| f64::from(case.readers),
        y_of: |f| f.gb_per_s,
        is_x_bytes: false,
    };
    let mut drawn = Vec::new();
    for (placement, place) in [(Placement::Same, "one processor"), (Placement::Apart, "two processors")] {
        let distance = usual_distance(medians, placement);
        let here = |case: &Case| {
            case.placement == placement
                && case.distance == distance
                && case.is_touched
                && case.rate_chz.is_none()
        };
        let one = |case: &Case| here(case) && case.readers == 1 && case.writers == 1;
        let place = match distance {
            Some(Distance::Near) => format!("{place}, near"),
            Some(Distance::Far) => format!("{place}, far"),
            _ => place.to_owned(),
        };
        let mut plot = |name: &str, title: &str, axes: &Axes, fits: &dyn Fn(&Case) -> bool| {
            let file = format!("{name}-{placement}.svg");
            let title = format!("{title}, {place}");
            if draw_one(medians, &folder.join(&file), &title, axes, fits)? {
                drawn.push(Plot { file, title });
            }
            Ok::<_, Box<dyn Error>>(())
        };
        plot("latency", "Latency against size", &latency, &|case| one(case) && case.kind == Kind::Latency)?;
        plot("throughput", "Throughput against size", &rate, &|case| {
            one(case) && case.kind == Kind::Throughput
        })?;
        plot("fan-out", "Fan-out", &fan, &|case| {
            here(case) && case.kind == Kind::Throughput && case.writers == 1 && case.len == 1 << 20
        })?;
        plot("cpu", "CPU per GB against size", &cpu, &|case| one(case) && case.kind == Kind::Throughput)?;
    }
    Ok(drawn)
}

/// The distance at which most was measured.
fn usual_distance(medians: &Medians, placement: Placement) -> Option<Distance> {
    let mut runs: BTreeMap<Option<Distance>, usize> = BTreeMap::new();
    for (case, of_case) in medians.0.iter().filter(|(case, _)| case.placement == placement) {
        *runs.entry(case.distance).or_default() += of_case.runs;
    }
    runs.into_iter().max_by_key(|&(_, runs)| runs).and_then(|(distance, _)| distance)
}

fn draw_one(
    medians: &Medians,
    path: &Path,
    title: &str,
    axes: &Axes,
    fits: &dyn Fn(&Case) -> bool,
) -> Result<bool, Box<dyn Error>> {
    let mut points: BTreeMap<Case, Vec<f64>> = BTreeMap::new();
    for (case, of_case) in medians.0.iter().filter(|(case, _)| fits(case)) {
        if let Some(y) = (axes.y_of)(&of_case.figures).filter(|y| *y > 0.0) {
            points.entry(Case { session: String::new(), ..case.clone() }).or_default().push(y);
        }
    }
    let mut lines = Lines::new();
    for (case, of_sessions) in &points {
        let y = median(of_sessions.clone());
        lines.entry(&case.system).or_default().extend(y.map(|y| ((axes.x_of)(case), y)));
    }
    // A line has two points.
    lines.retain(|_, points| points.len() > 1);
    if lines.is_empty() {
        return Ok(false);
    }
    chart(path, title, (axes.x, axes.is_x_bytes), axes.y, lines)?;
    Ok(true)
}

/// A line for each name, on logarithmic axes; what stands on them is said, and whether the one below is a size.
pub(super) fn chart(
    path: &Path,
    title: &str,
    (x_name, is_x_bytes): (&str, bool),
    y_name: &str,
    lines: Lines<'_>,
) -> Result<(), Box<dyn Error>> {
    let points: Vec<(f64, f64)> = lines.values().flatten().copied().collect();
    let extent = |of: fn(&(f64, f64)) -> f64| {
        let low = points.iter().map(of).fold(f64::INFINITY, f64::min);
        (low * 0.8, points.iter().map(of).fold(0.0, f64::max) * 1.25)
    };
    let (x, y) = (extent(|point| point.0), extent(|point| point.1));
    let root = SVGBackend::new(path, (960, 560)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
    let x_text = |value: &f64| if is_x_bytes { size(value.round() as usize) } else { format!("{value:.0}") };
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&x_text)
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    for (index, (system, points)) in lines.into_iter().enumerate() {
        let color =
            if system.starts_with("ideal-") { GREY.to_rgba() } else { Palette99::pick(index).to_rgba() };
        let width = if system.starts_with("ideal-") { 3 } else { 2 };
        let style = color.stroke_width(width);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(system)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A number on a logarithmic axis.
fn short(value: f64) -> String {
    if value >= 1.0 { format!("{value:.0}") } else { format!("{value}") }
}

const GREY: RGBColor = RGBColor(150, 150, 150);
