//! Harnesses that are wrong on purpose: each is blind in one way, as harnesses become, and so lets a wrong kernel go.

use std::sync::OnceLock;

use qk256_verify::buffer::Buffer;
use qk256_verify::case::{self, Sweep};
use qk256_verify::data::Distribution;
use qk256_verify::fault_injection::{FaultInjection, OldContents};
use qk256_verify::inputs::Inputs;
use qk256_verify::judge::{self, Judgement};
use qk256_verify::oracle::{Expected, RowTruth, expected};
use qk256_verify::property::Failure;
use qk256_verify::shape::Threads;
use qk256_verify::{Arguments, Case, Domain, Kernel, KernelFn, Operation, Outcome, Property};

use crate::model::{BLOCK_BYTES, BLOCK_ELEMENTS};

/// A fault of the harness.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What is wrong, in a few words joined by hyphens.
    pub name: &'static str,
    /// The harness with the fault.
    pub harness: &'static dyn FaultInjection,
    /// The wrong kernel that it lets go, by which it is noticed.
    pub witness: &'static str,
}

/// The faults, each with the kernel that a harness must have caught to be without it.
pub fn faults() -> Vec<Fault> {
    let fault = |name, witness, harness| Fault { name, harness, witness };
    vec![
        fault("tolerance-times-1000", "a-result-in-bf16", &Tolerant),
        fault("last-output-skipped", "last-of-15-is-the-one-before", &LastOutputSkipped),
        fault("scales-of-blocks-not-compared", "scale-in-half-precision", &ScalesNotCompared),
        fault("nan-equals-anything", "nan-becomes-zero", &NanEqualsAnything),
        fault("oracle-calls-the-kernel", "scale-of-the-previous-block", &OracleCallsTheKernel),
        fault("panics-swallowed", "three-rows-panic", &Silent(Property::Panic)),
        fault("guards-ignored", "reads-a-byte-before-packed", &Silent(Property::Memory)),
        fault("refusals-not-demanded", "one-column-refused", &Silent(Property::Sizes)),
        fault("order-not-demanded", "backwards-where-an-activation-is-zero", &Silent(Property::Order)),
        fault("invariance-not-demanded", "columns-split-in-two-for-one-row", &Silent(Property::Invariance)),
        fault("registers-not-compared", "rbx-not-preserved", &Silent(Property::Registers)),
        fault("process-not-compared", "the-umask-left-changed", &Silent(Property::Process)),
        fault("open-descriptors-ignored", "a-descriptor-left-open", &Silent(Property::Descriptors)),
        fault("leaks-ignored", "scratch-of-each-call-kept", &Silent(Property::Leak)),
        fault(
            "first-calls-from-one-thread",
            "a-table-that-is-ready-before-it-is-filled",
            &Silent(Property::FirstCall),
        ),
        fault("modes-not-compared", "flush-to-zero-left-on", &Silent(Property::Mxcsr)),
        fault("outputs-cleared-before-calls", "zeros-not-written", &Cleared),
        fault(
            "one-seed",
            "first-byte-of-127-taken-for-a-mark",
            &Cases(|domain, _, index| Case { seed: 0, patches: Vec::new(), ..case::nth(domain, 0, index) }),
        ),
        fault(
            "only-the-first-case",
            "last-dropped-when-7-of-8",
            &Cases(|domain, seed, _| case::nth(domain, seed, 0)),
        ),
        fault(
            "no-partial-blocks",
            "mask-of-the-tail-one-short",
            &Cases(|domain, seed, index| whole_blocks(case::nth(domain, seed, index))),
        ),
        fault(
            "rows-a-multiple-of-4",
            "rest-of-4096-rows-of-one-column",
            &Cases(|domain, seed, index| {
                let case = legal(domain, seed, index);
                Case {
                    rows: if domain.operation.is_matrix() {
                        case.rows.div_ceil(4).max(1) * 4
                    } else {
                        case.rows
                    },
                    stride: case.stride.clamp(0, 4096),
                    ..case
                }
            }),
        ),
        fault(
            "no-longer-buffers",
            "longer-x-refused",
            &Cases(|domain, seed, index| {
                let mut case = case::nth(domain, seed, index);
                Buffer::ALL.into_iter().for_each(|buffer| case.slack[buffer] = case.slack[buffer].min(0));
                Case { patches: Vec::new(), ..case }
            }),
        ),
        fault(
            "one-thread",
            "off-from-the-ninth-call-of-another-thread",
            &Cases(|domain, seed, index| Case { threads: Threads::ONE, ..case::nth(domain, seed, index) }),
        ),
        fault(
            "dense-rows",
            "stride-taken-for-dense",
            &Cases(|domain, seed, index| Case {
                stride: 0,
                patches: Vec::new(),
                ..legal(domain, seed, index)
            }),
        ),
        fault(
            "no-long-rows",
            "columns-counted-in-16-bits",
            &Cases(|domain, seed, index| {
                let case = legal(domain, seed, index);
                Case { cols: case.cols.min(2048), patches: Vec::new(), ..case }
            }),
        ),
        fault(
            "no-special-values",
            "nan-lost-from-64-columns-on",
            &Cases(|domain, seed, index| {
                let case = legal(domain, seed, index);
                let distribution = if matches!(
                    case.distribution,
                    Distribution::Special | Distribution::OneHot | Distribution::Raw
                ) {
                    Distribution::Ten
                } else {
                    case.distribution
                };
                Case { distribution, patches: Vec::new(), ..case }
            }),
        ),
    ]
}

/// Absolute or relative, a thousand times 1e-4, of whatever it is that must be.
#[derive(Debug)]
struct Tolerant;

impl FaultInjection for Tolerant {
    fn judge(&self, inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
        const TOLERANCE: f64 = 0.1;
        let mut output = output.to_vec();
        let forgive = |got: &mut u32, must: f32| {
            let error = (f64::from(f32::from_bits(*got)) - f64::from(must)).abs();
            if error <= TOLERANCE || error <= TOLERANCE * f64::from(must.abs()) {
                *got = must.to_bits();
            }
        };
        if let Expected::Rows(rows) = expected {
            for (row, got) in rows.iter().zip(&mut output) {
                match *row {
                    RowTruth::Exact(must) => forgive(got, must),
                    RowTruth::Near { exact, .. } => forgive(got, exact.to_f32()),
                    RowTruth::Fixed { bits, .. } => forgive(got, f32::from_bits(bits)),
                    _ => {}
                }
            }
        }
        judge::judge(inputs, expected, depth, &output)
    }
}

/// A loop over outputs that ends one too early.
#[derive(Debug)]
struct LastOutputSkipped;

impl FaultInjection for LastOutputSkipped {
    fn judge(&self, inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
        let kept = output.len().saturating_sub(1);
        let expected = match expected {
            Expected::Bits(bits) => Expected::Bits(bits[..kept].to_vec()),
            Expected::Rows(rows) => Expected::Rows(rows[..kept].to_vec()),
            Expected::Blocks(_) | Expected::Packed(_) => {
                return judge::judge(inputs, expected, depth, output);
            }
        };
        judge::judge(inputs, &expected, depth, &output[..kept])
    }
}

/// A judge of quantised blocks that looks at their codes alone.
#[derive(Debug)]
struct ScalesNotCompared;

impl FaultInjection for ScalesNotCompared {
    fn judge(&self, inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
        let mut output = output.to_vec();
        if let Expected::Blocks(blocks) = expected {
            let (codes, scales) = output.split_at_mut(blocks.len() * BLOCK_BYTES);
            for ((codes, got), block) in codes.chunks(BLOCK_BYTES).zip(scales).zip(blocks) {
                let codes: Vec<u8> = codes.iter().map(|&byte| byte as u8).collect();
                let choice = block.right().iter().find(|choice| choice.codes == *codes);
                *got = choice.map_or(*got, |choice| choice.scales.start().to_bits());
            }
        }
        judge::judge(inputs, expected, depth, &output)
    }
}

/// A comparison that NaN never fails.
#[derive(Debug)]
struct NanEqualsAnything;

impl FaultInjection for NanEqualsAnything {
    fn judge(&self, inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
        let is_nan = |bits: u32| inputs.operation != Operation::Unpack && f32::from_bits(bits).is_nan();
        let (mut expected, mut output) = (expected.clone(), output.to_vec());
        match &mut expected {
            Expected::Bits(bits) => {
                for (must, got) in
                    bits.iter().zip(&mut output).filter(|(must, got)| is_nan(**must) || is_nan(**got))
                {
                    *got = *must;
                }
            }
            Expected::Rows(rows) => {
                for (row, got) in rows.iter_mut().zip(&output) {
                    if is_nan(*got) || matches!(row, RowTruth::Nan | RowTruth::NotFinite) {
                        *row = RowTruth::MayOverflow;
                    }
                }
            }
            Expected::Blocks(_) | Expected::Packed(_) => {}
        }
        judge::judge(inputs, &expected, depth, &output)
    }
}

/// The kernel that a harness asks for the right results.
static ORACLE: OnceLock<KernelFn> = OnceLock::new();

/// Makes `kernel` the oracle of the fault `oracle-calls-the-kernel` in this process.
pub fn ask_for_the_truth(kernel: KernelFn) {
    // Where one was set before, it stays.
    let _ = ORACLE.set(kernel);
}

/// Expected results that come from what they judge.
#[derive(Debug)]
struct OracleCallsTheKernel;

impl FaultInjection for OracleCallsTheKernel {
    /// The outputs of the longest vectors are computed piece by piece, without this oracle.
    fn case(&self, domain: Domain, seed: u64, index: u64) -> Case {
        let case = case::nth(domain, seed, index);
        if case.cols < 1 << 28 { case } else { Case::new(domain, 1, BLOCK_ELEMENTS) }
    }

    fn expected(&self, inputs: &Inputs) -> Expected {
        let (Some(kernel), Operation::Unpack | Operation::Lut | Operation::Dequantize) =
            (ORACLE.get(), inputs.operation)
        else {
            return expected(inputs);
        };
        let mut codes = vec![0; inputs.out_len];
        let mut out = vec![0.0; inputs.out_len];
        let outcome = kernel.call(Arguments {
            packed: inputs.packed.kept(),
            codes: &inputs.codes,
            scales: inputs.scales.as_deref(),
            out_bytes: &mut codes,
            out: &mut out,
            ..Arguments::default()
        });
        match (outcome, inputs.operation) {
            (Outcome::Done, Operation::Unpack) => Expected::Bits(codes.into_iter().map(u32::from).collect()),
            (Outcome::Done, _) => Expected::Bits(out.into_iter().map(f32::to_bits).collect()),
            _ => expected(inputs),
        }
    }
}

/// Failures of one property that go nowhere.
#[derive(Debug)]
struct Silent(Property);

impl FaultInjection for Silent {
    fn reports(&self, failure: &Failure) -> bool {
        failure.property != self.0
    }
}

/// Outputs that are zero before each call.
#[derive(Debug)]
struct Cleared;

impl FaultInjection for Cleared {
    fn old_contents(&self, _: Operation, _: OldContents) -> u32 {
        0
    }
}

/// Other cases than those that are called for.
#[derive(Debug)]
struct Cases(fn(Domain, u64, u64) -> Case);

impl FaultInjection for Cases {
    fn case(&self, domain: Domain, seed: u64, index: u64) -> Case {
        (self.0)(domain, seed, index)
    }
}

/// Case number `index` or, where its sizes are wrong, a drawn one whose sizes are not.
fn legal(domain: Domain, seed: u64, index: u64) -> Case {
    let is_legal = |case: &Case| case.materialize(None).is_ok_and(|inputs| inputs.is_legal());
    let behind = Sweep::of(domain).len();
    let candidates =
        (0..).map(|step| case::nth(domain, seed, if step == 0 { index } else { behind + index + step }));
    candidates.into_iter().find(is_legal).expect("most cases are legal")
}

fn whole_blocks(case: Case) -> Case {
    let cols = case.cols.clamp(1, 1 << 20).next_multiple_of(BLOCK_ELEMENTS);
    let mut case = Case { cols, patches: Vec::new(), ..case };
    for buffer in Buffer::ALL {
        case.slack[buffer] = case.slack[buffer].max(0);
    }
    case
}
