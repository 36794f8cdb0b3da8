//! The report as JSON.

use serde::Serialize;

use super::Report;

/// A report with what follows from its rows.
#[derive(Serialize)]
struct Whole<'r> {
    #[serde(flatten)]
    report: &'r Report,
    summary: String,
    complaints: Vec<String>,
}

pub(super) fn render(report: &Report) -> String {
    let whole = Whole { report, summary: report.summary(), complaints: report.complaints() };
    let mut text = serde_json::to_string_pretty(&whole).expect("a report is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;

    #[test]
    fn a_program_finds_the_verdict_and_every_row() {
        let json: serde_json::Value = serde_json::from_str(&of_every_kind().json()).expect("it is JSON");
        assert_eq!((&json["verdict"], &json["about"]), (&"finding".into(), &"promises".into()));
        let row = &json["rows"][1];
        assert_eq!(
            (&row["kernel"], &row["on"], &row["verdict"]),
            (&"avx2".into(), &"dequantize 4096".into(), &"missed".into())
        );
        assert_eq!((&row["estimate"]["median"], &row["at_least"]), (&2.0.into(), &3.0.into()));
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(6));
    }
}
