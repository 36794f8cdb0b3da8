//! The table of tokens a second.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use qk256_verify::timing::Ratio;

use super::contender::Contender;

/// Prints the table, with whatever missed its bar on standard error. Whether all bars are met.
pub(super) fn print(contenders: &[Contender], times: &[Vec<Duration>], bytes: usize) -> bool {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel", "threads", "prefetch", "tokens/s", "GB/s", "of reading", "8 of 10", "bar"]);
    let mut missed = 0;
    for (contender, spent) in contenders.iter().zip(times) {
        let limit =
            contenders.iter().position(|other| other.is_limit() && other.threads == contender.threads);
        let limit = &times[limit.expect("the limit was run with every number of threads")];
        let part = Ratio::of(seconds(limit).zip(seconds(spent)).map(|(limit, spent)| limit / spent));
        let tokens = Ratio::of(seconds(spent).map(|seconds| 1.0 / seconds)).median;
        if let Some(bar) = contender.bar.filter(|&bar| part.median < bar) {
            missed += 1;
            eprintln!(
                "missed: {contender}, {} threads: {:.2} of reading, {bar} is demanded",
                contender.threads, part.median
            );
        }
        table.add_row([
            contender.to_string(),
            contender.threads.to_string(),
            if contender.is_limit() {
                ""
            } else if contender.prefetch {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            format!("{tokens:.1}"),
            format!("{:.1}", tokens * bytes as f64 / 1e9),
            format!("{:.2}", part.median),
            format!("{:.2}-{:.2}", part.low, part.high),
            contender.bar.map_or(String::new(), |bar| format!("{bar:.2}")),
        ]);
    }
    for column in [1, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    println!(
        "a token: {bytes} bytes of codes; medians of {} rounds, each with a token of every row",
        times[0].len()
    );
    missed == 0
}

fn seconds(times: &[Duration]) -> impl Iterator<Item = f64> {
    times.iter().map(Duration::as_secs_f64)
}
