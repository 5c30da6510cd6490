//! A report as a picture: a line for each ratio and each time, from the least to the greatest round, with a dot at the median.

use super::{Report, Summary};

const WIDTH: f64 = 1040.0;
/// Names end here, and lines begin a little behind.
const LEFT: f64 = 420.0;
const RIGHT: f64 = 870.0;
const ROW: f64 = 18.0;
/// Above the first row of a panel: its title and the numbers of its scale.
const HEAD: f64 = 52.0;
const MARGIN: f64 = 16.0;
/// Units of what is measured in itself, and not beside something else in the same round.
const UNITS: [(&str, &str); 5] = [
    ("ns", "Nanoseconds"),
    ("ms", "Milliseconds"),
    ("s", "Seconds"),
    ("MiB", "Resident memory, MiB"),
    ("%", "Share of a core, %"),
];
/// What only takes away from others what measuring itself takes.
const DIFFERENCE: &str = "_minus_";

/// Ratios of costs begin with this.
const COSTS: &str = "size.";

struct Panel {
    title: String,
    digits: usize,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    /// An A/A pair: what to hold the others against.
    again: bool,
    /// Least, median, greatest; or why there is none.
    spread: Result<[f64; 3], String>,
}

/// Draws a report as SVG 1.1.
#[must_use]
pub fn plot(report: &Report) -> String {
    let mut body = String::new();
    let mut top = MARGIN + ROW;
    text(&mut body, MARGIN, top, "start", "title", &caption(report));
    for panel in panels(report).iter().filter(|panel| !panel.rows.is_empty()) {
        top += ROW;
        panel.draw(&mut body, top);
        top += panel.height();
    }
    let height = top + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

const STYLE: &str = "text{font:12px monospace;fill:#222}.title{font-weight:bold}.quiet{fill:#777}\
.grid{stroke:#ddd}.one{stroke:#222}.span{stroke:#1f6feb;stroke-width:3}.dot{fill:#0b3d91}\
.again{stroke:#aaa;stroke-width:3}.againdot{fill:#777}";

fn caption(report: &Report) -> String {
    let machine = &report.machine;
    let build = if machine.optimised { "" } else { "; NOT OPTIMISED" };
    format!("{}, {} cores, kernel {}{build}", machine.processor, machine.cores, machine.kernel)
}

fn panels(report: &Report) -> Vec<Panel> {
    let ratios = report.ratios.iter().map(|ratio| Row {
        name: ratio.name.clone(),
        again: ratio.again,
        spread: Ok([ratio.min, ratio.median, ratio.max]),
    });
    let refused = report.refused.iter().map(|refused| Row {
        name: refused.name.clone(),
        again: false,
        spread: Err(format!("refused: the A/A pair is at {:.3}", refused.again)),
    });
    // Of rates more is better, of costs less.
    let (costs, rates): (Vec<_>, Vec<_>) =
        ratios.chain(refused).partition(|row: &Row| row.name.starts_with(COSTS));
    let panel = |what: &str, rows| Panel {
        title: format!("Ratios within a round ({what}; grey: the same against itself)"),
        digits: 2,
        rows,
    };
    let mut panels =
        vec![panel("above 1: the first is faster", rates), panel("above 1: the first costs more", costs)];
    panels.extend(UNITS.map(|(unit, title)| {
        let shown = |one: &&Summary| one.unit == unit && !one.name.contains(DIFFERENCE);
        let rows = report.measurements.iter().filter(shown).map(|one| Row {
            name: one.name.clone(),
            again: false,
            spread: Ok([one.min, one.median, one.max]),
        });
        Panel { title: title.to_owned(), digits: 1, rows: rows.collect() }
    }));
    panels
}

impl Panel {
    fn height(&self) -> f64 {
        HEAD + ROW * self.rows.len() as f64
    }

    fn draw(&self, body: &mut String, top: f64) {
        let scale =
            Scale::over(self.rows.iter().filter_map(|row| row.spread.as_ref().ok()).flatten().copied());
        text(body, MARGIN, top + ROW, "start", "title", &self.title);
        let bottom = top + self.height();
        for tick in scale.ticks() {
            let (x, class) = (scale.x(tick), if tick == 1.0 { "one" } else { "grid" });
            line(body, class, [x, top + HEAD - 8.0], [x, bottom]);
            text(body, x, top + HEAD - 12.0, "middle", "quiet", &tick.to_string());
        }
        for (at, row) in self.rows.iter().enumerate() {
            row.draw(body, top + HEAD + ROW * at as f64, &scale, self.digits);
        }
    }
}

impl Row {
    fn draw(&self, body: &mut String, top: f64, scale: &Scale, digits: usize) {
        let (middle, baseline) = (top + ROW / 2.0, top + ROW / 2.0 + 4.0);
        text(body, LEFT - 12.0, baseline, "end", if self.again { "quiet" } else { "" }, &self.name);
        match &self.spread {
            Ok([least, median, greatest]) => {
                let (span, dot) = if self.again { ("again", "againdot") } else { ("span", "dot") };
                line(body, span, [scale.x(*least), middle], [scale.x(*greatest), middle]);
                let x = scale.x(*median);
                body.push_str(&format!(
                    "<circle class=\"{dot}\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"4\"/>\n"
                ));
                text(body, RIGHT + 12.0, baseline, "start", "", &format!("{median:.digits$}"));
            }
            Err(why) => text(body, LEFT, baseline, "start", "quiet", why),
        }
    }
}

/// Logarithmic, from one of 1, 2, 5, 10, 20 … to another one.
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// Nothing and less than nothing has no place on it, and is drawn at its beginning.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (least, greatest) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| {
                (least.min(value), greatest.max(value))
            });
        if least > greatest {
            return Self { from: 1.0, to: 10.0 };
        }
        let from = steps().rev().find(|step| *step <= least).unwrap_or(least);
        let to = steps().find(|step| *step > greatest && *step > from).unwrap_or(greatest);
        Self { from, to }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        steps().filter(|step| (self.from..=self.to).contains(step))
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value.clamp(self.from, self.to) / self.from).ln() / (self.to / self.from).ln();
        LEFT + (RIGHT - LEFT) * share
    }
}

/// Written out: a power of ten that is computed is not always the number that people write.
fn steps() -> impl DoubleEndedIterator<Item = f64> {
    [
        0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3,
        1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6,
    ]
    .into_iter()
}

fn line(body: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    body.push_str(&format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    ));
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    body.push_str(&format!(
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Ratio, Refused};

    #[test]
    fn everything_that_is_told_or_refused_is_drawn_in_its_place() {
        let report = Report {
            ratios: vec![Ratio { name: "rr.a_over_b".into(), again: false, min: 0.5, median: 1.0, max: 2.0 }],
            refused: vec![Refused { name: "crr.a_over_b".into(), again: 1.08 }],
            measurements: ["ns", "1/s"]
                .map(|unit| Summary {
                    name: format!("in {unit}"),
                    unit: unit.into(),
                    min: 0.0,
                    median: 30.0,
                    p99: None,
                    max: 40.0,
                })
                .into(),
            ..Report::default()
        };
        let svg = plot(&report);
        for text in ["rr.a_over_b", "crr.a_over_b", "refused: the A/A pair is at 1.080", "in ns", "30.0"] {
            assert!(svg.contains(&format!(">{text}</text>")), "{text}: {svg}");
        }
        assert!(!svg.contains("in 1/s"), "rates are not told but as ratios");
        // 0.5 to 5: the median of 1 lies at log 2 of log 10.
        let place = LEFT + (RIGHT - LEFT) * 2_f64.log10();
        assert!(svg.contains(&format!("cx=\"{place:.1}\"")), "{place}: {svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
