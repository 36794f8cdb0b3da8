//! `cargo bench -p qk256-benches --bench decode`: tokens a second of a model of 2 billion weights. With `-- --distances`: of
//! some products, with prefetches at several distances. This informs, the gate decides.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use qk256_gate::decode::{Decoded, Scope, run};
use qk256_verify::timing::Ratio;

fn main() -> ExitCode {
    // Cargo and criterion's users pass options that mean nothing here: `--bench`, `--save-baseline`, filters.
    let distances = std::env::args().any(|argument| argument == "--distances");
    match run(if distances { Scope::Distances } else { Scope::All }) {
        Ok(Some(decoded)) => print(&decoded),
        Ok(None) => println!("decode: skipped: the kernels that are timed need x86-64 with AVX2 and FMA"),
        Err(problem) => {
            eprintln!("{problem}\n\ndecode: failed");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The table of tokens a second.
fn print(decoded: &Decoded) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["a token by", "threads", "prefetch", "tokens/s", "GB/s", "of reading", "8 of 10"]);
    for way in &decoded.ways {
        let part = Ratio::of(way.parts.iter().copied());
        let tokens = Ratio::of(way.times.iter().map(|spent| 1.0 / spent.as_secs_f64())).median;
        let prefetch = match way.ahead {
            0 => "none".to_owned(),
            bytes => format!("{} KB", bytes / 1024),
        };
        table.add_row([
            way.name.clone(),
            way.threads.to_string(),
            prefetch,
            format!("{tokens:.1}"),
            format!("{:.1}", tokens * decoded.bytes as f64 / 1e9),
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
        "a token: {} bytes of codes; medians of {} rounds, each with a token of every row",
        decoded.bytes,
        decoded.ways.first().map_or(0, |way| way.times.len())
    );
}
