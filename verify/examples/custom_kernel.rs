//! A custom kernel, declared and checked. With the word `broken` it has a bug, and the harness finds it.

use std::ops::ControlFlow;
use std::process::ExitCode;

use qk256_kernels::{BLOCK_LEN, Matrix, WEIGHTS};
use qk256_verify::check::{Budget, Plan, check};
use qk256_verify::{Arguments, Domain, Harness, KernelFn, Operation, Outcome};

/// Cases that the kernel is checked by.
const CASES: u64 = 2000;

/// The code under test: one f64 sum a row.
fn gemv(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    for (r, y) in y.iter_mut().enumerate() {
        let (row, scales) = (matrix.row(r), matrix.row_scales(r));
        let term = |(c, x): (usize, &f32)| {
            let weight = WEIGHTS[usize::from(row[c / 4] >> (2 * (c % 4)) & 3)];
            let scale = scales.map_or(1.0, |scales| scales[c / BLOCK_LEN]);
            f64::from(weight) * f64::from(scale) * f64::from(*x)
        };
        *y = x.iter().enumerate().map(term).fold(0.0, |sum, term| sum + term) as f32;
    }
}

/// The same from plain arguments: wrong sizes are refused, by `Matrix` and here.
fn f64_sum(arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, scales, x, out: y, rows, cols, row_stride, .. } = arguments;
    let matrix = Matrix::new(packed, rows, cols, row_stride).and_then(|matrix| match scales {
        Some(scales) => matrix.with_scales(scales),
        None => Ok(matrix),
    });
    let (Ok(matrix), Some(x), Some(y)) = (matrix, x.get(..cols), y.get_mut(..rows)) else {
        return Outcome::Refused;
    };
    gemv(&matrix, x, y);
    Outcome::Done
}

/// Its declaration.
const F64_SUM: KernelFn = KernelFn {
    name: "f64_sum",
    domain: Domain::new(Operation::Gemv),
    required_features: &[],
    refuses_wrong_sizes: true,
    call: f64_sum,
};

/// The same with a bug: the last column is dropped where seven are left over from eights.
const BROKEN: KernelFn = KernelFn {
    call: |arguments| {
        let Arguments { x, cols, .. } = arguments;
        match x.get(..cols) {
            Some(x @ [.., _]) if cols % 8 == 7 => {
                let x = &[&x[..cols - 1], &[0.0]].concat();
                f64_sum(Arguments { x, ..arguments })
            }
            _ => f64_sum(arguments),
        }
    },
    ..F64_SUM
};

fn main() -> ExitCode {
    let kernel = if std::env::args().nth(1).as_deref() == Some("broken") { BROKEN } else { F64_SUM };
    let mut harness = Harness::new(None);
    let plan = Plan::new(1, Budget::Cases(CASES));
    let report = check(&mut harness, &[&kernel], &plan, &mut |_| ControlFlow::Continue(()))
        .expect("seeded cases always have data");
    for finding in &report.findings {
        eprintln!("{finding}\n");
    }
    let properties: Vec<&str> =
        report.kernels[0].counts.properties.applied().map(|property| property.name()).collect();
    println!(
        "{} cases, {} findings; checked: {}",
        report.cases,
        report.findings.len(),
        properties.join(", ")
    );
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
