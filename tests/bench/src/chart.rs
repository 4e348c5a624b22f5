//! Draws curves as SVG that reads well on a light and on a dark page: both axes are logarithmic, so that a straight line
//! of slope 1 is linear, and what is steeper is not.

use std::fmt::Write as _;

use crate::{
    curve::{Curve, Line},
    row::short,
};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// What is left around the plot: left, right, top, bottom.
const MARGINS: [f64; 4] = [64.0, 40.0, 48.0, 52.0];
/// How high a line of the legend is.
const LEGEND: f64 = 20.0;

/// The look of both pages: the colours of lines differ in lightness too, and each has dashes of its own.
const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.page { fill: #ffffff; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.line { fill: none; stroke-width: 1.75; }
.l0 { stroke: #0550ae; stroke-width: 3; } .d0 { fill: #0550ae; }
.l1 { stroke: #bc4c00; stroke-dasharray: 7 4; } .d1 { fill: #bc4c00; }
.l2 { stroke: #1a7f37; stroke-dasharray: 2 3; } .d2 { fill: #1a7f37; }
.l3 { stroke: #8250df; stroke-dasharray: 10 3 2 3; } .d3 { fill: #8250df; }
.l4 { stroke: #57606a; stroke-dasharray: 4 4; } .d4 { fill: #57606a; }
.l5 { stroke: #bf3989; stroke-dasharray: 12 4; } .d5 { fill: #bf3989; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.page { fill: #0d1117; }
.grid { stroke: #30363d; }
.l0 { stroke: #79c0ff; } .d0 { fill: #79c0ff; }
.l1 { stroke: #ffa657; } .d1 { fill: #ffa657; }
.l2 { stroke: #7ee787; } .d2 { fill: #7ee787; }
.l3 { stroke: #d2a8ff; } .d3 { fill: #d2a8ff; }
.l4 { stroke: #8b949e; } .d4 { fill: #8b949e; }
.l5 { stroke: #ff9bce; } .d5 { fill: #ff9bce; }
}
";

/// How many looks of lines there are.
const LOOKS: usize = 6;

/// A logarithmic axis: figures between powers of ten, laid on pixels.
struct Axis {
    least: i32,
    most: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let positive = figures.filter(|figure| *figure > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let most = positive.fold(0.0, f64::max).log10().ceil() as i32;
        Self { least, most: most.max(least + 1), from, to }
    }

    fn at(&self, figure: f64) -> f64 {
        let part = (figure.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.least..=self.most).map(|power| 10_f64.powi(power))
    }
}

/// Draws a curve.
pub(crate) fn draw(curve: &Curve) -> String {
    let [left, right, top, bottom] = MARGINS;
    let points = || curve.lines.iter().flat_map(|line| line.points.iter().copied());
    let x = Axis::new(points().map(|(size, _)| size), left, WIDTH - right);
    let y = Axis::new(points().map(|(_, figure)| figure), HEIGHT - bottom, top);
    let height = HEIGHT + LEGEND * curve.lines.len().div_ceil(2) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"title\" x=\"{left}\" y=\"28\">{title}</text>\n",
        title = escape(&curve.title)
    );
    for size in x.ticks() {
        let at = x.at(size);
        element(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{low}\"/>\
             <text x=\"{at:.1}\" y=\"{label}\" text-anchor=\"middle\">{}</text>",
                thousands(size),
                low = HEIGHT - bottom,
                label = HEIGHT - bottom + 18.0,
            ),
        );
    }
    for figure in y.ticks() {
        let at = y.at(figure);
        element(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{label}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>",
                thousands(figure),
                end = WIDTH - right,
                label = left - 8.0,
                base = at + 4.0,
            ),
        );
    }
    element(
        &mut svg,
        format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            f64::midpoint(left, WIDTH - right),
            HEIGHT - bottom + 38.0,
            escape(&curve.size),
            left - 8.0,
            top - 12.0,
            escape(&curve.figure),
        ),
    );
    // Ours is drawn last, over the others.
    for (number, line) in curve.lines.iter().enumerate().rev() {
        draw_line(&mut svg, line, number % LOOKS, (&x, &y), &curve.figure);
    }
    for (number, line) in curve.lines.iter().enumerate() {
        let (column, row) = ((number % 2) as f64, (number / 2) as f64);
        let (at, base) = (left + column * 330.0, HEIGHT + row * LEGEND);
        element(
            &mut svg,
            format_args!(
                "<line class=\"line l{look}\" x1=\"{at}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/><text x=\"{}\" y=\"{base}\">{}</text>",
                at + 34.0,
                base - 4.0,
                base - 4.0,
                at + 42.0,
                escape(&line.name),
                look = number % LOOKS,
            ),
        );
    }
    svg + "</svg>\n"
}

fn draw_line(svg: &mut String, line: &Line, look: usize, (x, y): (&Axis, &Axis), unit: &str) {
    let points = line.points.iter().filter(|(size, figure)| *size > 0.0 && *figure > 0.0);
    let at: Vec<_> = points.map(|(size, figure)| (x.at(*size), y.at(*figure), *size, *figure)).collect();
    let path: Vec<_> = at.iter().map(|(x, y, ..)| format!("{x:.1},{y:.1}")).collect();
    element(svg, format_args!("<polyline class=\"line l{look}\" points=\"{}\"/>", path.join(" ")));
    for (x, y, size, figure) in at {
        let words = format!("{}, {}: {} {unit}", line.name, thousands(size), short(figure));
        element(
            svg,
            format_args!(
                "<circle class=\"d{look}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{}</title></circle>",
                escape(&words)
            ),
        );
    }
}

fn element(svg: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(svg, "{words}").expect("text");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn thousands(number: f64) -> String {
    if number < 1000.0 {
        return short(number);
    }
    let text = format!("{number:.0}");
    let (head, tail) = text.split_at(text.len() - 3);
    format!("{head},{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Curve {
        let mut curve = Curve::new("routes", "Routes & time", "routes", "ms");
        for (size, figure) in [(100, 0.5), (1000, 4.0), (10_000, 37.0)] {
            curve.add("ipvland", size, figure);
            curve.add("BIRD", size, figure * 30.0);
        }
        curve
    }

    #[test]
    fn a_drawing_holds_every_point_inside_its_frame() {
        let svg = draw(&curve());
        assert_eq!(svg.matches("<circle").count(), 6);
        let number = |rest: &str| rest.split('"').next().and_then(|text| text.parse::<f64>().ok());
        for (name, most) in [("cx=\"", WIDTH), ("cy=\"", HEIGHT)] {
            let all: Vec<_> = svg.split(name).skip(1).filter_map(number).collect();
            assert_eq!(all.len(), 6);
            assert!(all.iter().all(|at| (0.0..most).contains(at)), "{all:?}");
        }
        assert!(svg.contains("Routes &amp; time") && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn more_is_higher_and_to_the_right() {
        let axis = Axis::new([1.0, 1000.0].into_iter(), 400.0, 0.0);
        assert_eq!((axis.at(1.0), axis.at(1000.0)), (400.0, 0.0));
    }
}
