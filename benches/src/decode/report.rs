//! The table of tokens a second.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use qk256_verify::timing::Ratio;

use super::contender::Contender;
use super::race::of_reading;

/// Prints the table.
pub(super) fn print(contenders: &[Contender], times: &[Vec<Duration>], bytes: usize) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["a token by", "threads", "prefetch", "tokens/s", "GB/s", "of reading", "8 of 10"]);
    for (place, contender) in contenders.iter().enumerate() {
        let part = Ratio::of(of_reading(contenders, times, place));
        let tokens = Ratio::of(times[place].iter().map(|spent| 1.0 / spent.as_secs_f64())).median;
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
        ]);
    }
    for column in [1, 3, 4, 5, 6] {
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
