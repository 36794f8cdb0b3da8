//! The report as OpenMetrics text (<https://openmetrics.io>): GitLab compares such files between the two sides of a merge
//! request.

use std::fmt::Write;

use super::Report;

/// A gauge: its name, and its value of a row that was measured.
type Gauge = (&'static str, &'static str, fn(&super::Line) -> Option<f64>);

const GAUGES: [Gauge; 3] = [
    ("qk256_gate_ratio", "How many times as fast as its base a kernel is.", |line| {
        Some(line.estimate?.median)
    }),
    ("qk256_gate_ratio_low", "Lower end of the 95 % interval of the ratio.", |line| Some(line.estimate?.low)),
    ("qk256_gate_bar", "The ratio that is demanded.", |line| line.estimate.and(line.at_least)),
];

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for (name, help, value) in GAUGES {
        writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}").expect("a string takes all");
        for line in &report.rows {
            if let Some(value) = value(line) {
                let [kernel, on, over] = [&line.kernel, &line.on, &line.over].map(|text| escaped(text));
                // A row may be demanded twice, with two bars: a promise, and what was reached.
                let bar = line.at_least.map_or(String::new(), |bar| bar.to_string());
                writeln!(text, r#"{name}{{kernel="{kernel}",on="{on}",over="{over}",bar="{bar}"}} {value}"#)
                    .expect("a string takes all");
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;

    #[test]
    fn each_row_that_was_measured_is_a_sample_and_the_text_ends_as_it_must() {
        let text = of_every_kind().open_metrics();
        let sample = r#"qk256_gate_ratio{kernel="avx2",on="dequantize 4096",over="scalar",bar="3"} 2"#;
        assert!(text.lines().any(|line| line == sample), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("qk256_gate_ratio{")).count(), 5);
        assert_eq!(text.lines().filter(|line| line.starts_with("qk256_gate_bar{")).count(), 4);
        assert!(text.ends_with("# EOF\n"));
        let mut samples: Vec<&str> =
            text.lines().map(|line| line.rsplit_once(' ').expect("two words").0).collect();
        samples.sort_unstable();
        assert!(samples.windows(2).all(|pair| pair[0] != pair[1]), "a sample stands there twice");
    }
}
