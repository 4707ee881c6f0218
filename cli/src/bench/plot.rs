//! Charts as SVG, on logarithmic axes: lines through points, ticks, a legend.

use std::fmt::{self, Write};

/// Pixels of one chart.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 360.0;
/// What lies around the lines: labels and ticks.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Colours that also those tell apart who do not see all.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// Points that belong together.
pub(super) struct Line {
    pub(super) name: String,
    /// Both above 0; others are left out.
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over the same axes.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: String,
    pub(super) y_label: String,
    /// Where the x axis has ticks.
    pub(super) x_ticks: Vec<f64>,
    pub(super) lines: Vec<Line>,
}

/// All charts beside each other, under one heading.
pub(super) fn svg(heading: &str, charts: &[Chart]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut text, heading, charts);
    text
}

fn write_all(out: &mut String, heading: &str, charts: &[Chart]) -> fmt::Result {
    let width = WIDTH * charts.len().max(1) as f64;
    let height = HEIGHT + 32.0;
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222222">"##
    )?;
    writeln!(out, "<title>{}</title>", escaped(heading))?;
    writeln!(
        out,
        r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##
    )?;
    writeln!(
        out,
        r#"<text x="{}" y="22" text-anchor="middle" font-size="14">{}</text>"#,
        width / 2.0,
        escaped(heading)
    )?;
    for (index, chart) in charts.iter().enumerate() {
        let x = WIDTH * index as f64;
        writeln!(out, r#"<g transform="translate({x} 32)">"#)?;
        write_chart(out, chart)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")
}

/// A logarithmic axis from one value to another, on pixels.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// One that holds all `values`, if any is above 0.
    fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (mut from, mut to) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|&value| is_drawn(value)) {
            from = from.min(value);
            to = to.max(value);
        }
        if from > to {
            (from, to) = (1.0, 10.0);
        }
        // A line of one value is in the middle.
        if to / from < 1.000_001 {
            (from, to) = (from / 2.0, to * 2.0);
        }
        Self {
            from,
            to,
            start,
            end,
        }
    }

    /// Where `value` is.
    fn at(&self, value: f64) -> f64 {
        let part = (value / self.from).ln() / (self.to / self.from).ln();
        self.start + part * (self.end - self.start)
    }

    /// 1, 2 and 5 of each power of ten that the axis holds; where that is too many, the powers alone.
    fn ticks(&self) -> Vec<f64> {
        let (first, last) = (self.from.log10().floor(), self.to.log10().ceil());
        let all = |of: &[f64]| -> Vec<f64> {
            (first as i32..=last as i32)
                .flat_map(|power| of.iter().map(move |digit| digit * 10_f64.powi(power)))
                .filter(|&tick| tick >= self.from * 0.999_999 && tick <= self.to * 1.000_001)
                .collect()
        };
        let fine = all(&[1.0, 2.0, 5.0]);
        match fine.len() {
            0..=9 => fine,
            _ => all(&[1.0]),
        }
    }
}

fn is_drawn(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn write_chart(out: &mut String, chart: &Chart) -> fmt::Result {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let x_axis = Axis::over(
        points()
            .map(|point| point.0)
            .chain(chart.x_ticks.iter().copied()),
        LEFT,
        WIDTH - RIGHT,
    );
    // From round values on, so that lines do not run along the edge.
    let values = points()
        .map(|point| point.1)
        .filter(|&value| is_drawn(value));
    let room = values.flat_map(|value| [value / 1.5, value * 1.5]);
    let y_axis = Axis::over(room, HEIGHT - BOTTOM, TOP);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let middle = (LEFT + right) / 2.0;
    let centred = |out: &mut String, y: f64, text: &str| {
        writeln!(
            out,
            r#"<text x="{middle}" y="{y}" text-anchor="middle">{}</text>"#,
            escaped(text)
        )
    };
    centred(out, TOP - 28.0, &chart.title)?;
    for &tick in chart.x_ticks.iter().filter(|&&tick| is_drawn(tick)) {
        let x = x_axis.at(tick);
        writeln!(
            out,
            r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#e5e5e5"/><text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"##,
            bottom + 18.0,
            short(tick)
        )?;
    }
    for tick in y_axis.ticks() {
        let y = y_axis.at(tick);
        writeln!(
            out,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#e5e5e5"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            LEFT - 6.0,
            y + 4.0,
            short(tick)
        )?;
    }
    writeln!(
        out,
        r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#222222"/>"##
    )?;
    centred(out, HEIGHT - 18.0, &chart.x_label)?;
    let middle = (TOP + bottom) / 2.0;
    writeln!(
        out,
        r#"<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{}</text>"#,
        escaped(&chart.y_label)
    )?;
    for (index, line) in chart.lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let drawn: Vec<_> = line
            .points
            .iter()
            .filter(|&&(x, y)| is_drawn(x) && is_drawn(y))
            .map(|&(x, y)| (x_axis.at(x), y_axis.at(y)))
            .collect();
        let path = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
        let path = path.collect::<Vec<_>>().join(" ");
        writeln!(
            out,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#
        )?;
        for (x, y) in drawn {
            writeln!(
                out,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
            )?;
        }
        let (x, y) = (LEFT + 12.0 + 96.0 * index as f64, TOP - 10.0);
        writeln!(
            out,
            r#"<line x1="{x}" y1="{y}" x2="{}" y2="{y}" stroke="{colour}" stroke-width="2"/><text x="{}" y="{}">{}</text>"#,
            x + 20.0,
            x + 26.0,
            y + 4.0,
            escaped(&line.name)
        )?;
    }
    Ok(())
}

/// A round number, with k, M or G.
fn short(value: f64) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= unit {
            return format!("{}{name}", rounded(value / unit));
        }
    }
    rounded(value)
}

/// Without the digits that binary fractions add.
fn rounded(value: f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

/// As text of an XML document. What no such document may hold becomes the sign for it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
