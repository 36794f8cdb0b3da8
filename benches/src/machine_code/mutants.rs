//! Kernels that are wrong on purpose, compiled here and found in the test executable by name: whatever the judge claims to see,
//! it must see in one of these. None is ever executed.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::decode::{Function, Spill};
use super::executable::functions;
use super::expectations::Expectation;
use super::judge::{Fault, Wrong, judge};

const LANES: usize = 8;

/// The sum over `N` vectors at a time, each multiplied by itself.
#[inline(always)]
fn square<const N: usize>(x: &[[f32; LANES]], add: impl Fn(__m256, __m256) -> __m256) -> [__m256; N] {
    // SAFETY: eight zeros are a vector of them.
    let mut sums = [unsafe { std::mem::zeroed() }; N];
    for x in x.as_chunks::<N>().0 {
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: both are eight floats of any bits.
            *sum = add(unsafe { std::mem::transmute::<[f32; LANES], __m256>(*x) }, *sum);
        }
    }
    sums
}

/// As many sums as fit into registers.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn clean(x: &[[f32; LANES]], sums: &mut [__m256; 4]) {
    *sums = square(x, |x, sum| _mm256_fmadd_ps(x, x, sum));
}

/// The classic: `avx2` does not imply `fma`.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn without_fma(x: &[[f32; LANES]], sums: &mut [__m256; 4]) {
    // SAFETY: nothing executes this.
    *sums = square(x, |x, sum| unsafe { _mm256_fmadd_ps(x, x, sum) });
}

/// More sums than there are registers.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn too_many_sums(x: &[[f32; LANES]], sums: &mut [__m256; 20]) {
    *sums = square(x, |x, sum| _mm256_fmadd_ps(x, x, sum));
}

/// A part of a kernel that is not inlined.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn calls_its_part(x: &[[f32; LANES]], sums: &mut [__m256; 4]) {
    *sums = square(x, |x, sum| _mm256_fmadd_ps(part(x), x, sum));
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn part(x: __m256) -> __m256 {
    _mm256_mul_ps(x, black_box(x))
}

macro_rules! path {
    ($name:literal) => {
        concat!(module_path!(), "::", $name)
    };
}

/// What a clean function is expected to be.
const CLEAN: Expectation = Expectation {
    function: path!("clean"),
    kind: "all",
    is: |_| true,
    loops: 1,
    mark: "vfmadd",
    marks: 4,
    unit: ("vfmadd", LANES),
    loads: 0,
    stores: 0,
};

/// The mutants, as they are in this executable.
fn mutants() -> Vec<Function> {
    black_box((
        clean as unsafe fn(&[[f32; LANES]], &mut [__m256; 4]),
        without_fma as unsafe fn(&[[f32; LANES]], &mut [__m256; 4]),
        calls_its_part as unsafe fn(&[[f32; LANES]], &mut [__m256; 4]),
        too_many_sums as unsafe fn(&[[f32; LANES]], &mut [__m256; 20]),
    ));
    functions(|path| path.starts_with(module_path!())).expect("a test executable has symbols")
}

/// What is wrong with the functions of one name, by a table of one row.
fn faults(name: &str, expected: Expectation) -> Vec<Fault> {
    let functions: Vec<Function> =
        mutants().into_iter().filter(|function| function.path.ends_with(name)).collect();
    judge(&functions, &[expected]).all_faults().cloned().collect()
}

#[test]
fn a_clean_kernel_passes() {
    assert_eq!(faults("::clean", CLEAN), []);
}

#[test]
fn an_intrinsic_that_is_a_call_is_found_and_named() {
    let faults = faults("::without_fma", Expectation { function: path!("without_fma"), ..CLEAN });
    let calls =
        |fault: &&Fault| matches!(&fault.wrong, Wrong::Intrinsic(name) if name.ends_with("_mm256_fmadd_ps"));
    let fault = faults.iter().find(calls).unwrap_or_else(|| panic!("{faults:?}"));
    let report = fault.to_string();
    for part in [path!("without_fma"), " at 0x", "`call ", "remedy: enable the features"] {
        assert!(report.contains(part), "{report}");
    }
    assert!(faults.iter().any(|fault| fault.wrong == Wrong::Loops("all", 0, 1)), "{faults:?}");
}

#[test]
fn a_sum_without_a_register_is_found_on_both_its_ways() {
    let expected = Expectation { function: path!("too_many_sums"), ..CLEAN };
    let faults = faults("::too_many_sums", expected);
    for way in [Spill::Load, Spill::Store] {
        let goes = |fault: &Fault| matches!(fault.wrong, Wrong::Spill(own, 4.., 0) if own == way);
        assert!(faults.iter().any(goes), "{way:?}: {faults:?}");
    }
}

#[test]
fn spills_are_allowed_up_to_the_number_of_the_table_and_not_beyond() {
    let faults_of = |loads, stores| {
        faults("::too_many_sums", Expectation { function: path!("too_many_sums"), loads, stores, ..CLEAN })
    };
    let all = faults_of(0, 0);
    let count =
        |way| all.iter().filter(|fault| matches!(fault.wrong, Wrong::Spill(own, ..) if own == way)).count();
    let (loads, stores) = (count(Spill::Load), count(Spill::Store));
    assert_eq!(faults_of(loads, stores), []);
    let one_too_many = faults_of(loads - 1, stores);
    assert_eq!(one_too_many.len(), loads, "each of them is named");
    assert_eq!(one_too_many[0].wrong, Wrong::Spill(Spill::Load, loads, loads - 1));
}

#[test]
fn a_call_in_an_innermost_loop_is_found_whether_or_not_the_table_knows_the_function() {
    for function in [path!("calls_its_part"), path!("clean")] {
        let faults = faults("::calls_its_part", Expectation { function, ..CLEAN });
        let calls = |fault: &&Fault| fault.wrong == Wrong::Call(path!("part").to_owned());
        assert_eq!(faults.iter().filter(calls).count(), 4, "{faults:?}");
    }
}

#[test]
fn a_claim_about_what_is_not_there_fails() {
    type Case = (Expectation, fn(&Wrong) -> bool);
    let cases: [Case; 5] = [
        (Expectation { function: path!("renamed"), ..CLEAN }, |wrong| *wrong == Wrong::Missing),
        (Expectation { loops: 2, ..CLEAN }, |wrong| *wrong == Wrong::Loops("all", 1, 2)),
        (Expectation { mark: "vpdpbusd", ..CLEAN }, |wrong| *wrong == Wrong::Loops("all", 0, 1)),
        (Expectation { marks: 100, ..CLEAN }, |wrong| matches!(wrong, Wrong::Marks("all", 4..100, 100))),
        (Expectation { is: |own| own.has("vmulps"), loops: 0, ..CLEAN }, |wrong| {
            *wrong == Wrong::Unknown("vfmadd")
        }),
    ];
    for (expected, is_expected) in cases {
        let claim = format!("{expected:?}");
        let faults = faults("::clean", expected);
        assert!(matches!(&faults[..], [fault] if is_expected(&fault.wrong)), "{claim}: {faults:?}");
    }
}
