//! The table of tokens a second.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use qk256_verify::timing::Ratio;

use super::contender::Contender;

/// Prints the table.
pub(super) fn print(contenders: &[Contender], times: &[Vec<Duration>], bytes: usize) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "a token by",
        "threads",
        "prefetch",
        "tokens/s",
        "GB/s",
        "of reading",
        "8 of 10",
        "bar",
    ]);
    for (contender, spent) in contenders.iter().zip(times) {
        let part = of_reading(contenders, times, contender, spent);
        let tokens = Ratio::of(seconds(spent).map(|seconds| 1.0 / seconds)).median;
        let prefetch = match contender.ahead {
            0 => "none".to_owned(),
            bytes => format!("{} KB", bytes / 1024),
        };
        table.add_row([
            contender.to_string(),
            contender.threads.to_string(),
            prefetch,
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
}

/// What to say of each bar that is not met.
pub(super) fn missed(contenders: &[Contender], times: &[Vec<Duration>]) -> Vec<String> {
    let missed = |(contender, spent): (&Contender, &Vec<Duration>)| {
        let (bar, part) = (contender.bar?, of_reading(contenders, times, contender, spent).median);
        let threads = contender.threads;
        // What is NaN is missed too.
        (part < bar || part.is_nan()).then(|| {
            format!("missed: {contender}, threads: {threads}: {part:.2} of the rate of reading, at least {bar} is demanded")
        })
    };
    contenders.iter().zip(times).filter_map(missed).collect()
}

/// The part of the rate of reading with as many threads that a contender reaches.
fn of_reading(
    contenders: &[Contender],
    times: &[Vec<Duration>],
    contender: &Contender,
    spent: &[Duration],
) -> Ratio {
    let limit = contenders.iter().position(|other| other.is_limit() && other.threads == contender.threads);
    let limit = &times[limit.expect("the limit is run with every number of threads")];
    Ratio::of(seconds(limit).zip(seconds(spent)).map(|(limit, spent)| limit / spent))
}

fn seconds(times: &[Duration]) -> impl Iterator<Item = f64> {
    times.iter().map(Duration::as_secs_f64)
}
