//! Every rung has a kernel that trips it and no other reason to be there: an oracle that cannot fail shows here.

mod fixed;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::ThreadId;

use qk256_verify::operation::Operation;
use qk256_verify::{Arguments, Finding, Harness, KernelFn, Outcome, Rung, case};

/// Seeded cases in which a mutant must be caught, or a right kernel left alone.
const CASES: u64 = 1500;

/// The kernel of a row of the tables below.
fn kernel(&(_, name, operation, call): &Row) -> KernelFn {
    KernelFn { name, operation, required_features: &[], refuses_wrong_sizes: true, call }
}

/// The arguments of a legal gemv.
struct Gemv<'a> {
    packed: &'a [u8],
    scales: Option<&'a [f32]>,
    x: &'a [f32],
    y: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> Gemv<'a> {
    /// `None` for wrong sizes.
    fn of(arguments: Arguments<'a>) -> Option<Self> {
        let Arguments::Gemv { packed, scales, x, y, rows, cols, row_stride } = arguments else {
            unreachable!("a gemv kernel is called with gemv arguments")
        };
        let blocks = cols.div_ceil(256);
        let needed =
            if rows == 0 { Some(0) } else { (rows - 1).checked_mul(row_stride)?.checked_add(64 * blocks) };
        let legal = packed.len() >= needed?
            && (rows <= 1 || row_stride >= 64 * blocks)
            && scales
                .is_none_or(|scales| rows.checked_mul(blocks).is_some_and(|needed| scales.len() >= needed))
            && x.len() >= cols
            && y.len() >= rows;
        legal.then_some(Self { packed, scales, x, y, rows, cols, row_stride })
    }

    /// The product of one element, scaled.
    fn term(&self, row: usize, column: usize) -> f32 {
        let code = self.packed[row * self.row_stride + column / 4] >> (2 * (column % 4)) & 3;
        let scale = self.scales.map_or(1.0, |scales| scales[row * self.cols.div_ceil(256) + column / 256]);
        [-2.0, -1.0, 1.0, 2.0][usize::from(code)] * scale * self.x[column]
    }

    fn sum(&self, row: usize, columns: impl Iterator<Item = usize>) -> f32 {
        columns.fold(0.0, |sum, column| sum + self.term(row, column))
    }
}

/// A gemv whose row `r` is `row(operands, r)`.
fn gemv(arguments: Arguments<'_>, row: impl Fn(&Gemv<'_>, usize) -> f32) -> Outcome {
    let Some(gemv) = Gemv::of(arguments) else { return Outcome::Refused };
    for r in 0..gemv.rows {
        gemv.y[r] = row(&gemv, r);
    }
    Outcome::Done
}

fn in_order(gemv: &Gemv<'_>, row: usize) -> f32 {
    gemv.sum(row, 0..gemv.cols)
}

/// The rung that must catch it (or, of a right one, that judges it), its name, the operation, the kernel.
type Row = (Rung, &'static str, Operation, fn(Arguments<'_>) -> Outcome);

const WRONG: &[Row] = &[
    (Rung::BitExact, "code 3 read as 2", Operation::Unpack, |arguments| {
        unpack(arguments, |packed, at| (packed[at / 4] >> (2 * (at % 4)) & 3).min(2))
    }),
    (Rung::BitExact, "scale of the previous block", Operation::Dequantize, |arguments| {
        dequantize(arguments, |scales, block| scales[block.saturating_sub(1)])
    }),
    (Rung::ExactRegime, "last element dropped when cols % 8 == 7", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| g.sum(row, 0..g.cols - usize::from(g.cols % 8 == 7)))
    }),
    (Rung::Order, "from right to left where there are gaps between rows", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| {
            let has_gaps = g.rows > 1 && g.row_stride > 64 * g.cols.div_ceil(256);
            if has_gaps { g.sum(row, (0..g.cols).rev()) } else { in_order(g, row) }
        })
    }),
    (Rung::Flat, "x rounded to 11 bits", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| {
            (0..g.cols).fold(0.0, |sum, c| sum + f32::from_bits(g.term(row, c).to_bits() & !0x1fff))
        })
    }),
    (Rung::Bound, "a result of 11 bits", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| f32::from_bits(in_order(g, row).to_bits() & !0x1fff))
    }),
    (Rung::Special, "NaN becomes zero", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| Some(in_order(g, row)).filter(|sum| !sum.is_nan()).unwrap_or(0.0))
    }),
    (Rung::Memory, "reads a byte before packed", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| {
            let before = g.packed.as_ptr().wrapping_sub(1);
            // SAFETY: deliberately out of bounds, into the guard page of the harness.
            let _ = unsafe { before.read_volatile() };
            in_order(g, row)
        })
    }),
    (Rung::Memory, "reads 16 bytes past the last block", Operation::Unpack, |arguments| {
        if let Arguments::Unpack { packed, .. } = &arguments {
            let behind = packed.as_ptr().wrapping_add(packed.len() + 15);
            // SAFETY: deliberately out of bounds, into the guard page of the harness.
            let _ = unsafe { behind.read_volatile() };
        }
        unpack(arguments, |packed, at| packed[at / 4] >> (2 * (at % 4)) & 3)
    }),
    (Rung::Memory, "writes the spare rows of y", Operation::Gemv, |arguments| {
        let Some(g) = Gemv::of(arguments) else { return Outcome::Refused };
        for r in 0..g.y.len() {
            g.y[r] = if r < g.rows { in_order(&g, r) } else { 0.0 };
        }
        Outcome::Done
    }),
    (Rung::Inputs, "x left negated", Operation::Gemv, |arguments| {
        let Some(g) = Gemv::of(arguments) else { return Outcome::Refused };
        for r in 0..g.rows {
            g.y[r] = in_order(&g, r);
        }
        let first = g.x.as_ptr().cast_mut();
        if g.cols > 0 {
            // SAFETY: deliberately against the contract; the harness's memory is writable.
            unsafe { first.write_volatile(-g.x[0]) };
        }
        Outcome::Done
    }),
    (Rung::Mxcsr, "flush-to-zero left on", Operation::Gemv, |arguments| {
        let outcome = gemv(arguments, in_order);
        qk256_verify::mxcsr::restore(qk256_verify::mxcsr::mode() | 0x8000);
        outcome
    }),
    (Rung::Panic, "three rows panic", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| if g.rows == 3 { panic!("three rows") } else { in_order(g, row) })
    }),
    (Rung::Sizes, "short x accepted", Operation::Gemv, |arguments| match Gemv::of(arguments) {
        Some(g) => {
            for r in 0..g.rows {
                g.y[r] = in_order(&g, r);
            }
            Outcome::Done
        }
        None => Outcome::Done,
    }),
    (Rung::Sizes, "one column refused", Operation::Gemv, |arguments| match Gemv::of(arguments) {
        Some(g) if g.cols != 1 => {
            for r in 0..g.rows {
                g.y[r] = in_order(&g, r);
            }
            Outcome::Done
        }
        _ => Outcome::Refused,
    }),
    (Rung::Placement, "accumulates into y", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| in_order(g, row) + if g.y[row].is_finite() { g.y[row] } else { 0.0 })
    }),
    (Rung::Placement, "another order for aligned x", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| match g.x.as_ptr().addr() % 32 {
            0 => g.sum(row, (0..g.cols).rev()),
            _ => in_order(g, row),
        })
    }),
    (Rung::Repeat, "every seventh call is off", Operation::Gemv, |arguments| {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let off = CALLS.fetch_add(1, Ordering::Relaxed) % 7 == 2;
        gemv(arguments, |g, row| in_order(g, row) + f32::from(u8::from(off)))
    }),
    (Rung::Threads, "wrong on every thread but the first", Operation::Gemv, |arguments| {
        static FIRST: OnceLock<ThreadId> = OnceLock::new();
        let here = std::thread::current().id();
        let off = *FIRST.get_or_init(|| here) != here;
        gemv(arguments, |g, row| in_order(g, row) + f32::from(u8::from(off)))
    }),
    (Rung::Padding, "the code behind the last one matters", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| {
            let next = g.packed[row * g.row_stride..].get(g.cols / 4).filter(|_| !g.cols.is_multiple_of(4));
            in_order(g, row) + next.map_or(0.0, |&byte| f32::from(byte >> 6))
        })
    }),
    (Rung::Complement, "a bias", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| in_order(g, row) + 1e-5)
    }),
    (Rung::PowerOfTwo, "a floor", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| Some(in_order(g, row)).filter(|sum| sum.abs() > 1e-2).unwrap_or(0.0))
    }),
    (Rung::RowOrder, "odd rows sum backwards", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| if row % 2 == 1 { g.sum(row, (0..g.cols).rev()) } else { in_order(g, row) })
    }),
];

const RIGHT: &[Row] = &[
    (Rung::Bound, "last column first", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| g.sum(row, (0..g.cols).rev()))
    }),
    (Rung::Bound, "f64 accumulator", Operation::Gemv, |arguments| {
        gemv(arguments, |g, row| (0..g.cols).fold(0.0, |sum, c| sum + f64::from(g.term(row, c))) as f32)
    }),
    (Rung::BitExact, "reads every byte of packed", Operation::Unpack, |arguments| {
        if let Arguments::Unpack { packed, .. } = &arguments {
            std::hint::black_box(packed.iter().fold(0, |all, byte| all | byte));
        }
        unpack(arguments, |packed, at| packed[at / 4] >> (2 * (at % 4)) & 3)
    }),
];

fn unpack(arguments: Arguments<'_>, code: impl Fn(&[u8], usize) -> u8) -> Outcome {
    let Arguments::Unpack { packed, codes } = arguments else { unreachable!("an unpack kernel unpacks") };
    if packed.len() < 64 * codes.len().div_ceil(256) {
        return Outcome::Refused;
    }
    (0..codes.len()).for_each(|at| codes[at] = code(packed, at));
    Outcome::Done
}

fn dequantize(arguments: Arguments<'_>, scale: impl Fn(&[f32], usize) -> f32) -> Outcome {
    let Arguments::Dequantize { packed, scales, out } = arguments else {
        unreachable!("dequantize dequantizes")
    };
    let blocks = out.len().div_ceil(256);
    if packed.len() < 64 * blocks || scales.len() < blocks {
        return Outcome::Refused;
    }
    for at in 0..out.len() {
        let code = packed[at / 4] >> (2 * (at % 4)) & 3;
        out[at] = [-2.0, -1.0, 1.0, 2.0][usize::from(code)] * scale(scales, at / 256);
    }
    Outcome::Done
}

/// The first finding of `rung` (of any rung, if `None`) within the budget.
fn first_finding(harness: &mut Harness, kernel: &KernelFn, rung: Option<Rung>) -> Option<Finding> {
    (0..CASES).find_map(|index| {
        let case = case::from_seed(kernel.operation, 7, index);
        let found = harness.findings(kernel, &case).expect("seeded cases have data");
        found.into_iter().find(|finding| rung.is_none_or(|rung| rung == finding.rung))
    })
}

#[test]
fn every_rung_catches_the_kernel_that_violates_it() {
    let mut harness = Harness::new(None);
    let survivors: Vec<String> = WRONG
        .iter()
        .chain(fixed::WRONG)
        .filter(|row| first_finding(&mut harness, &kernel(row), Some(row.0)).is_none())
        .map(|(rung, name, operation, _)| format!("{rung} does not see: {operation}, {name}"))
        .collect();
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn every_rung_has_a_mutant() {
    let lonely: Vec<Rung> =
        Rung::ALL.into_iter().filter(|rung| WRONG.iter().all(|row| row.0 != *rung)).collect();
    assert!(lonely.is_empty(), "no mutant for {lonely:?}");
}

#[test]
fn right_kernels_that_are_different_are_left_alone() {
    let mut harness = Harness::new(None);
    for row in RIGHT.iter().chain(fixed::RIGHT) {
        assert_eq!(first_finding(&mut harness, &kernel(row), None), None, "{}", row.1);
    }
}

#[test]
fn a_minimised_finding_is_at_its_smallest_shape_and_replays() {
    let mut harness = Harness::new(None);
    let dropper = WRONG.iter().map(kernel).find(|kernel| kernel.name.starts_with("last element dropped"));
    let dropper = dropper.expect("the mutant is in the table");
    let found = first_finding(&mut harness, &dropper, Some(Rung::ExactRegime)).expect("the mutant is caught");
    let smallest = harness.minimize(&dropper, &found);
    assert_eq!((smallest.case.rows, smallest.case.cols), (1, 7), "{smallest}");
    let line = smallest.replay.split_once(" gemv ").expect("a replay line has the case").1;
    let again = format!("gemv {line}").parse().expect("a replay line parses");
    let found = harness.findings(&dropper, &again).expect("the case has data");
    assert!(found.iter().any(|finding| finding.rung == Rung::ExactRegime), "{found:?}");
}
