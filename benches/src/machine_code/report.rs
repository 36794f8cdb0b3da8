//! The table of loops, and the last word.

use comfy_table::{CellAlignment, Table, presets};

use super::decode::Spill;
use super::judge::{Judged, Judgement, Loop};

/// Prints what was found, shown loops last, and returns whether all claims hold.
pub(super) fn finish(judgement: &Judgement<'_>, shown: &[Loop<'_>]) -> bool {
    println!("{}", table(judgement, shown));
    let faults: Vec<_> = judgement.all_faults().collect();
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    let claimed = judgement.loops.iter().filter(|judged| judged.expected.is_some()).count();
    if faults.is_empty() {
        println!("machine code: {claimed} hot loops are what is claimed of them");
    } else {
        eprintln!("machine code: {} faults", faults.len());
    }
    faults.is_empty()
}

fn table(judgement: &Judgement<'_>, shown: &[Loop<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "function",
        "loop",
        "instructions",
        "elements",
        "per 16",
        "calls",
        "stack loads",
        "allowed",
        "stack stores",
        "allowed",
        "verdict",
    ]);
    for judged in &judgement.loops {
        table.add_row(row(judged));
    }
    for own in shown {
        table.add_row(cells(own, "", None, [None; 2], "shown"));
    }
    for column in 2..=9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(judged: &Judged<'_>) -> [String; 11] {
    let verdict = match (judged.faults.len(), judged.expected) {
        (0, Some(_)) => "holds",
        (0, None) => "no calls",
        _ => "FAULTY",
    };
    let Some(expected) = judged.expected else {
        return cells(&judged.own, "", None, [None; 2], verdict);
    };
    let (unit, each) = expected.unit;
    let elements = judged.own.count(unit) * each;
    cells(&judged.own, expected.kind, Some(elements), [Some(expected.loads), Some(expected.stores)], verdict)
}

fn cells(
    own: &Loop<'_>,
    kind: &str,
    elements: Option<usize>,
    [loads, stores]: [Option<usize>; 2],
    verdict: &str,
) -> [String; 11] {
    let or_dash = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let path = &own.function.path;
    let per_16 = elements.map(|elements| format!("{:.2}", own.steps.len() as f64 * 16.0 / elements as f64));
    [
        path.strip_prefix("qk256_kernels::").unwrap_or(path).to_owned(),
        format!("{:#x} {kind}", own.steps[0].address),
        own.steps.len().to_string(),
        or_dash(elements),
        per_16.unwrap_or_else(|| "-".to_owned()),
        own.calls().count().to_string(),
        own.spills(Spill::Load).len().to_string(),
        or_dash(loads),
        own.spills(Spill::Store).len().to_string(),
        or_dash(stores),
        verdict.to_owned(),
    ]
}
