//! The gate's table and its last word.

use comfy_table::{CellAlignment, Table, presets};
use qk256_verify::timing::Ratio;

use super::demands::{Contest, Row};
use super::verdict::{CONTROL_TOLERANCE, Settled, Verdict};
use super::{REQUIRE_AVX2, verdict};

/// A row with what decided it.
struct Decided<'a> {
    contest: &'a Contest,
    row: &'a Row,
    base: &'a str,
    speedup: Ratio,
    control: Ratio,
    races: usize,
    verdict: Verdict,
}

/// Prints the table and what failed. Whether the run passes.
pub(super) fn finish(contests: &[Contest], settled: &[Settled], skipped: usize, skips_fail: bool) -> bool {
    let decided = decided(contests, settled);
    if !decided.is_empty() {
        println!("{}", table(&decided));
    }
    let failures: Vec<String> = decided.iter().filter_map(complaint).collect();
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    if skipped > 0 {
        eprintln!("gate: {skipped} rows skipped: this CPU lacks what the candidate needs (see above)");
    }
    let (ran, failed) = (decided.len(), failures.len());
    if verdict::passes(ran, failed, skipped, skips_fail) {
        println!("gate: {ran} rows met, {skipped} skipped");
        return true;
    }
    let required =
        if skipped > 0 && skips_fail { format!(", none may be ({REQUIRE_AVX2})") } else { String::new() };
    eprintln!("gate: {failed} of {ran} rows failed, {skipped} skipped{required}");
    false
}

/// Rows of these contests.
pub(super) fn count_rows(contests: &[Contest]) -> usize {
    contests.iter().map(|contest| contest.demanded.len()).sum()
}

fn decided<'a>(contests: &'a [Contest], settled: &'a [Settled]) -> Vec<Decided<'a>> {
    let rows = |(contest, Settled { heat, races }): (&'a Contest, &'a Settled)| {
        contest.demanded.iter().enumerate().map(move |(at, row)| Decided {
            contest,
            row,
            base: &heat.speedups[at].0,
            speedup: heat.speedups[at].1,
            control: heat.control,
            races: *races,
            verdict: heat.verdict(at, row),
        })
    };
    contests.iter().zip(settled).flat_map(rows).collect()
}

fn table(decided: &[Decided<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel", "on", "over", "speed-up", "8 of 10", "bar", "control", "races", "verdict"]);
    for row in decided {
        table.add_row([
            row.row.candidate.to_owned(),
            row.contest.to_string(),
            row.base.to_owned(),
            format!("{:.2}", row.speedup.median),
            format!("{:.2}-{:.2}", row.speedup.low, row.speedup.high),
            format!("{:.2}", row.row.at_least),
            format!("{:.3}", row.control.median),
            row.races.to_string(),
            row.verdict.word().to_owned(),
        ]);
    }
    for column in 3..=7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What to say of a row that is not met.
fn complaint(decided: &Decided<'_>) -> Option<String> {
    let Decided { contest, row, base, speedup, control, races, verdict } = decided;
    let Ratio { median, low, high } = speedup;
    let name = format!("{} {contest} over {base}", row.candidate);
    match verdict {
        Verdict::Met => None,
        Verdict::Missed => Some(format!(
            "missed: {name}: {median:.2} ({low:.2} to {high:.2}) in the last of {races} races; at least {} is \
             demanded: {}",
            row.at_least, row.why
        )),
        Verdict::Invalid => Some(format!(
            "invalid: {name}: in the last of {races} races the first base over itself was {:.3}, more than \
             {CONTROL_TOLERANCE} from 1: this machine is too restless to judge",
            control.median
        )),
    }
}
