//! The bars of a CPU, from what it reaches: the table that `qk256 gate --calibrate` prints.

use std::collections::BTreeMap;
use std::fmt::Write;

use qk256_verify::registry::SCALAR;

use super::report::{Line, Report};
use super::{GateError, promises};

/// The bar of a row, as a part of the lower end of what was measured: what a noisy minute takes away is no reason to fail a change.
/// `--against` finds slow-downs; these bars find a kernel that lost its instructions.
const ROOM: f64 = 0.75;

/// The same over `scalar`, which indexes every element: where its loops lie makes it half as fast again (docs/benchmarking.md).
const ROOM_OVER_SCALAR: f64 = 0.55;

/// The `[[cpus]]` table of the machine of `report`, for `gate/gates.toml`.
///
/// # Errors
/// If the machine was too noisy to measure, or Linux does not report the model of its CPU.
pub fn table(report: &Report) -> Result<String, GateError> {
    let machine = &report.machine;
    let unknown = "cannot calibrate: /proc/cpuinfo has no vendor_id, cpu family and model of this CPU";
    let cpu = machine.model.as_ref().ok_or_else(|| GateError::Nothing(unknown.to_owned()))?;
    let mut bars: BTreeMap<String, BTreeMap<&str, f64>> = BTreeMap::new();
    for line in report.rows.iter().filter(|line| line.missing.is_empty()) {
        let candidate = format!("{} {}", line.kernel, line.on);
        bars.entry(candidate).or_default().insert(&line.over, bar(report, line)?);
    }
    if bars.is_empty() {
        return Err(GateError::Nothing("cannot calibrate: this CPU runs no kernel of these rows".to_owned()));
    }
    let (cpus, rustc) = (machine.cpus, &machine.rustc);
    let mut text = format!("# {}, {cpus} CPUs, {rustc}.\n[[cpus]]\n", machine.cpu);
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut line = |text_of: String| writeln!(text, "{text_of}").expect("a string takes all");
    line(format!(
        "vendor = {}\nfamily = {}\nmodel = {}\n[cpus.bars]",
        quoted(&cpu.vendor),
        cpu.family,
        cpu.model
    ));
    for (candidate, over) in bars {
        let over: Vec<String> = over.iter().map(|(base, bar)| format!("{} = {bar}", key(base))).collect();
        line(format!("{} = {{ {} }}", quoted(&candidate), over.join(", ")));
    }
    Ok(text)
}

/// What the row is held to from now on.
fn bar(report: &Report, line: &Line) -> Result<f64, GateError> {
    let is_quiet = report.canary.as_ref().is_none_or(promises::is_valid_canary)
        && line.control.as_ref().is_none_or(promises::is_steady);
    let low = line.estimate.map_or(f64::NAN, |estimate| estimate.low);
    if !(is_quiet && low.is_finite() && low > 0.0) {
        return Err(GateError::Noisy { row: line.name() });
    }
    let is_over_scalar = line.over.split(' ').next_back() == Some(SCALAR);
    Ok(rounded_down(low * if is_over_scalar { ROOM_OVER_SCALAR } else { ROOM }))
}

/// To two significant digits.
fn rounded_down(value: f64) -> f64 {
    let digits = (1.0 - value.log10().floor()) as i32;
    // Parsed from text, so that it prints as short as it is.
    let scaled = (value * 10_f64.powi(digits)).floor();
    format!("{scaled}e{}", -digits).parse().expect("it is a number")
}

/// A key of TOML: in quotes where it needs them.
fn key(text: &str) -> String {
    let is_bare = text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    if is_bare { text.to_owned() } else { toml::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cpu::Cpu;
    use super::super::judge::{Estimate, Verdict};
    use super::super::rows::Demands;
    use super::*;

    /// A run of the reached rows of the repository on a CPU that the table lacks: each reached four times its base, 3.7 at the least.
    fn measured() -> Report {
        let mut demands = Demands::own(None);
        demands.retain_reached();
        let estimate = Some(Estimate { median: 4.0, low: 3.7, high: 4.3, processes: 5 });
        let of = |line: Line| Line { estimate, verdict: Verdict::NotJudged, ..line };
        let rows = demands.rows.iter().map(Line::of).chain(demands.decoding.iter().map(Line::of_decoding));
        let mut report =
            Report::new("promises", rows.map(of).collect(), Some(Estimate::exact(8.0)), Duration::ZERO);
        report.machine.model = Some(Cpu { vendor: "Genuine \"New\"".to_owned(), family: 6, model: 1 });
        report
    }

    #[test]
    fn what_is_printed_is_a_table_that_the_gate_reads_and_every_row_has_a_bar_below_its_figure() {
        let report = measured();
        let table = table(&report).expect("the machine was quiet");
        let file =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/gates.toml")).expect("it is there");
        let with = format!("{file}\n{table}");
        let cpu = report.machine.model.as_ref();
        let mut demands = Demands::parse(&with, cpu).unwrap_or_else(|why| panic!("{why}\n{table}"));
        demands.rows.retain(|row| matches!(row.bar, super::super::rows::Bar::Reached(_)));
        for row in &demands.rows {
            let expected =
                if row.base.ends_with("scalar") && !row.base.ends_with("fast_scalar") { 2.0 } else { 2.7 };
            assert_eq!(row.bar.at_least(), Some(expected), "{} over {}", row.candidate(), row.base);
        }
        assert!(demands.decoding.iter().all(|row| row.bar.at_least() == Some(2.7)), "{:?}", demands.decoding);
    }

    #[test]
    fn a_noisy_machine_gives_no_table() {
        let mut report = measured();
        report.rows[3].control = Some(Estimate::exact(1.04));
        let name = report.rows[3].name();
        let printed = table(&report).expect_err("the control is off").to_string();
        assert!(printed.contains(&name), "{printed}");
        let mut report = measured();
        report.canary = Some(Estimate::exact(2.0));
        assert!(table(&report).is_err());
    }

    #[test]
    fn rows_of_kernels_that_the_cpu_cannot_run_are_left_out() {
        let mut report = measured();
        for line in report.rows.iter_mut().filter(|line| line.kernel == "avx_vnni") {
            line.missing = vec!["avxvnni".to_owned()];
        }
        let table = table(&report).expect("the machine was quiet");
        assert!(table.contains("avx2 gemv_fixed") && !table.contains("avx_vnni"), "{table}");
    }

    #[test]
    fn bars_are_rounded_down_to_two_digits() {
        for (value, expected) in [(0.5199, 0.51), (35.99, 35.0), (4.0, 4.0), (123.4, 120.0), (0.0456, 0.045)]
        {
            assert_eq!(rounded_down(value), expected, "{value}");
        }
    }
}
