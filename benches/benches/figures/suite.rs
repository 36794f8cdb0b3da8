//! The criterion suites: every kernel at every size that matters, by operation.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use qk256_kernels::{Digits, Kernels};
use qk256_verify::operation::DIGITS;
use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Operation};

use qk256_gate::{Verified, kernels_here};

/// Elements of the vector operations: a block, two sizes in the first-level cache, and 64 KiB of output.
const LENGTHS: [usize; 4] = [256, 1024, 4096, 16384];

/// Rows, columns and whether there are scales: one row, and the projections of a model of 2 billion weights.
const MATRICES: [(usize, usize, bool); 6] = [
    (1, 1024, false),
    (1, 1024, true),
    (2560, 2560, false),
    (2560, 2560, true),
    (6912, 2560, false),
    (2560, 6912, false),
];

/// Defaults that keep all suites together at a few minutes. The options of criterion override them.
pub(super) fn configuration() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

/// Unpack, LUT and dequantize.
pub(super) fn vectors(criterion: &mut Criterion) {
    for operation in [Operation::Unpack, Operation::Lut, Operation::Dequantize] {
        let workloads = LENGTHS.map(|len| (len.to_string(), Workload::new(operation, 1, len, false)));
        bench(criterion, operation, workloads);
    }
}

/// Matrix-vector products.
pub(super) fn gemv(criterion: &mut Criterion) {
    let workloads = MATRICES.map(|(rows, cols, scaled)| {
        let scales = if scaled { "-scaled" } else { "" };
        (format!("{rows}x{cols}{scales}"), Workload::new(Operation::Gemv, rows, cols, scaled))
    });
    bench(criterion, Operation::Gemv, workloads);
}

/// Matrix-vector products in fixed point, at the shapes without scales. Rounding x is part of the call.
pub(super) fn gemv_fixed(criterion: &mut Criterion) {
    let shapes = MATRICES.into_iter().filter(|&(_, _, scaled)| !scaled);
    let workloads = shapes.flat_map(|(rows, cols, _)| {
        DIGITS.map(move |digits| {
            let case = Case { digits, ..Case::new(Operation::GemvFixed, rows, cols) };
            (format!("{rows}x{cols}-{digits}"), Workload::of(case))
        })
    });
    bench(criterion, Operation::GemvFixed, workloads);
}

/// Rounding activations to fixed point, in memory that is there: what a product with several matrices needs once.
pub(super) fn rounding(criterion: &mut Criterion) {
    const COLUMNS: usize = 2560;
    let x: Vec<f32> = (0..COLUMNS).map(|column| (column as f32 * 0.37).sin()).collect();
    let mut group = criterion.benchmark_group("activations");
    group.throughput(Throughput::Elements(COLUMNS as u64));
    for digits in Digits::ALL {
        let kernels = Kernels::detect();
        let mut activations = kernels.activations(&x, digits).expect("sines are finite");
        let id = BenchmarkId::new("assign", format!("{COLUMNS}-{}", digits.count()));
        group.bench_function(id, |bencher| {
            bencher.iter(|| kernels.assign_activations(&mut activations, black_box(&x), digits))
        });
    }
    group.finish();
}

/// One group: `operation/kernel/workload`, where the kernels of a workload run one after the other. Bytes of the
/// throughput are those of [`Workload::bytes`]: each input once and the output once. A kernel that is wrong on what it is
/// about to be timed on ends the process.
fn bench(
    criterion: &mut Criterion,
    operation: Operation,
    workloads: impl IntoIterator<Item = (String, Workload)>,
) {
    let mut harness = Harness::new(None);
    let kernels = kernels_here(operation);
    let mut group = criterion.benchmark_group(operation.name());
    for (name, workload) in workloads {
        let mut verified = Verified::new(&mut harness, kernels.iter().map(AsRef::as_ref), workload)
            .unwrap_or_else(|findings| {
                findings.iter().for_each(|finding| eprintln!("{finding}\n"));
                eprintln!("{operation} {name} is not timed: a kernel is wrong on it");
                std::process::exit(1)
            });
        group.throughput(Throughput::ElementsAndBytes {
            elements: verified.workload().elements() as u64,
            bytes: verified.workload().bytes() as u64,
        });
        for place in 0..verified.kernels().len() {
            let id = BenchmarkId::new(verified.kernels()[place].name(), &name);
            group.bench_function(id, |bencher| bencher.iter_custom(|calls| verified.time(place, calls)));
        }
    }
    group.finish();
}
