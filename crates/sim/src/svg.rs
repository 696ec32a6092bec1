//! Plain plots as SVG: lines over a number, and bars. No fonts, scripts or styles but what a browser has.

use std::fmt::Write as _;

/// A line of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Its points: place, value, and half the width of the value's interval (0 for none).
    pub points: Vec<(f64, f64, f64)>,
    /// Whether it is a promise or foretold, rather than measured.
    pub dashed: bool,
}

/// A plot of lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What is to the right.
    pub x: String,
    /// What is upward.
    pub y: String,
    /// Whether upward every step is ten times the last.
    pub logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Told apart by people who see few colours, too.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#999900"];
/// Of a logarithmic plot, the least that is shown.
const LEAST: f64 = 1e-4;

impl Plot {
    /// The drawing.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (mut right, mut top) = (f64::MIN_POSITIVE, f64::MIN_POSITIVE);
        for (x, y, margin) in points() {
            right = right.max(*x);
            top = top.max(y + margin);
        }
        let up = |y: f64| {
            let share = if self.logarithmic {
                (y.max(LEAST) / LEAST).log10() / (1.0 / LEAST).log10()
            } else {
                y / top
            };
            HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
        };
        let along = |x: f64| LEFT + x / right * (WIDTH - LEFT - RIGHT);
        let mut out = opening(&self.title);
        self.axes(&mut out, right, top, along, up);
        for (place, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let dash = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
            let path: Vec<_> = line
                .points
                .iter()
                .map(|(x, y, _)| format!("{:.1},{:.1}", along(*x), up(*y)))
                .collect();
            let _ = writeln!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>"#,
                path.join(" ")
            );
            for (x, y, margin) in line.points.iter().filter(|_| !line.dashed) {
                let (x, low, high) = (along(*x), up(y - margin), up(y + margin));
                let _ = writeln!(
                    out,
                    r#"<path d="M{x:.1} {low:.1}V{high:.1}" stroke="{colour}"/><circle cx="{x:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#,
                    up(*y)
                );
            }
            let row = TOP + 18.0 * f64::from(u32::try_from(place).unwrap_or_default());
            let from = WIDTH - RIGHT + 12.0;
            let _ = writeln!(
                out,
                r#"<path d="M{from:.0} {row:.0}h24" stroke="{colour}" stroke-width="2"{dash}/>"#
            );
            text(&mut out, from + 30.0, row + 4.0, "start", &line.name);
        }
        out.push_str("</svg>\n");
        out
    }

    fn axes(
        &self,
        out: &mut String,
        right: f64,
        top: f64,
        along: impl Fn(f64) -> f64,
        up: impl Fn(f64) -> f64,
    ) {
        for step in 0..=4u32 {
            let value = if self.logarithmic {
                [1e-4, 1e-3, 1e-2, 1e-1, 1.0][step as usize]
            } else {
                top * f64::from(step) / 4.0
            };
            let (y, x) = (up(value), right * f64::from(step) / 4.0);
            let _ = writeln!(
                out,
                r##"<path d="M{LEFT} {y:.1}H{:.0}" stroke="#dddddd"/>"##,
                WIDTH - RIGHT
            );
            text(out, LEFT - 6.0, y + 4.0, "end", &short(value));
            text(out, along(x), HEIGHT - BOTTOM + 18.0, "middle", &short(x));
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        text(out, middle, HEIGHT - 10.0, "middle", &self.x);
        text(out, LEFT, TOP - 8.0, "start", &self.y);
    }
}

/// A bar, with half the width of its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is called.
    pub name: String,
    /// How long it is; may be negative.
    pub value: f64,
    /// Half the width of its interval.
    pub margin: f64,
}

/// Bars below one another, from a common zero.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + 26.0 * f64::from(u32::try_from(bars.len()).unwrap_or_default()) + 30.0;
    let reach = |low: f64, bar: &Bar| low.min(bar.value - bar.margin);
    let low = bars.iter().fold(0.0, reach);
    let high = bars.iter().fold(0.0f64, |high, bar| high.max(bar.value + bar.margin));
    let (from, width) = (210.0, WIDTH - 210.0 - 100.0);
    let along = |value: f64| from + (value - low) / (high - low).max(f64::MIN_POSITIVE) * width;
    let mut out = opening_of(title, height);
    for (place, bar) in bars.iter().enumerate() {
        let y = TOP + 26.0 * f64::from(u32::try_from(place).unwrap_or_default());
        let (zero, end) = (along(0.0), along(bar.value));
        let colour = if bar.value < 0.0 { COLOURS[1] } else { COLOURS[2] };
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{y:.1}" width="{:.1}" height="16" fill="{colour}"/>"#,
            zero.min(end),
            (zero - end).abs()
        );
        let _ = writeln!(
            out,
            r##"<path d="M{:.1} {:.1}H{:.1}" stroke="#000000"/>"##,
            along(bar.value - bar.margin),
            y + 8.0,
            along(bar.value + bar.margin)
        );
        text(&mut out, from - 8.0, y + 12.0, "end", &bar.name);
        text(&mut out, from + width + 8.0, y + 12.0, "start", &short(bar.value));
    }
    let _ = writeln!(
        out,
        r##"<path d="M{:.1} {TOP}V{:.1}" stroke="#000000"/>"##,
        along(0.0),
        height - 30.0
    );
    text(&mut out, from + width / 2.0, height - 8.0, "middle", unit);
    out.push_str("</svg>\n");
    out
}

fn opening(title: &str) -> String {
    opening_of(title, HEIGHT)
}

fn opening_of(title: &str, height: f64) -> String {
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<title>{}</title>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
"##,
        escaped(title)
    );
    text(&mut out, 10.0, 18.0, "start", title);
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// As few digits as tell it from its neighbours.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.01 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_well_formed_and_shows_all_points() {
        let line = |name: &str, dashed| Line {
            name: name.to_owned(),
            points: vec![(0.1, 0.0, 0.0), (0.2, 0.01, 0.002), (0.4, 0.3, 0.05)],
            dashed,
        };
        let plot = Plot {
            title: "a < b".to_owned(),
            x: "share".to_owned(),
            y: "chance".to_owned(),
            logarithmic: true,
            lines: vec![line("one", false), line("two & three", true)],
        };
        let svg = plot.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("two &amp; three"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn bars_go_both_ways_from_zero() {
        let bar = |name: &str, value| Bar { name: name.to_owned(), value, margin: 0.1 };
        let svg = bars("gains", "RLC", &[bar("honest", 1.0), bar("lazy", -2.0)]);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("-2.00") && !svg.contains("NaN"));
        assert!(!bars("nothing", "", &[]).contains("NaN"));
    }
}
