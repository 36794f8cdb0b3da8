//! Measures the facts of docs/numerics.md on seeded data and prints them as tables.
//!
//! Facts that must hold are asserted; the others are shown as they come out. A number on the command line multiplies the
//! rows of the table of the flat bound.

mod fixed;
mod flat;
mod orders;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Draws of the sampled facts.
const SAMPLES: u32 = 1 << 22;

fn main() {
    let factor = std::env::args().nth(1).map_or(1, |word| word.parse().expect("a number of times"));
    products();
    fused();
    spacing();
    either_or();
    flat::print(factor);
    fixed::print();
    orders::print();
}

/// A stream of random numbers of its own for each table.
fn stream(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform on [-1, 1), a multiple of 2^-23.
fn signed_unit(rng: &mut ChaCha8Rng) -> f32 {
    ((rng.next_u32() >> 8) as f32 - 8_388_608.0) / 8_388_608.0
}

/// A random significand, and sign if wanted, at an exponent uniform on [low, high].
fn wide(rng: &mut ChaCha8Rng, low: i32, high: i32, signed: bool) -> f32 {
    let draw = rng.next_u64();
    let exponent = low + ((draw >> 32) % (high - low + 1) as u64) as i32;
    let sign = if signed { draw as u32 & 0x8000_0000 } else { 0 };
    f32::from_bits(sign | ((exponent + 127) as u32) << 23 | draw as u32 & 0x007f_ffff)
}

/// Twice every finite f32 that is not negative, against the exact product. Signs and the weight 1 change no digit.
fn products() {
    let (mut inexact, mut overflows) = (0_u64, 0_u64);
    for bits in 0..f32::INFINITY.to_bits() {
        let x = f32::from_bits(bits);
        let (rounded, exact) = (f64::from(2.0 * x), 2.0 * f64::from(x));
        overflows += u64::from(rounded == f64::INFINITY);
        inexact += u64::from(rounded != exact && rounded != f64::INFINITY);
    }
    assert_eq!(inexact, 0);
    println!("2 * x for all {} finite x >= 0: {inexact} inexact, {overflows} overflow", 0x7f80_0000);
    let largest = f32::MAX / 2.0;
    assert!(2.0 * largest == f32::MAX && 2.0 * largest.next_up() == f32::INFINITY);
}

/// How often fused and separate rounding differ, without scales and with them.
fn fused() {
    let mut rng = stream(1);
    let (mut plain, mut scaled) = (0_u32, 0_u32);
    for _ in 0..SAMPLES {
        let weight = [-2.0_f32, -1.0, 1.0, 2.0][(rng.next_u32() & 3) as usize];
        let [x, sum, scale] = [signed_unit(&mut rng), signed_unit(&mut rng), signed_unit(&mut rng)];
        plain += u32::from(weight.mul_add(x, sum) != weight * x + sum);
        let weight = weight * scale;
        scaled += u32::from(weight.mul_add(x, sum) != weight * x + sum);
    }
    assert_eq!(plain, 0);
    println!("fused against separate, {SAMPLES} draws: {plain} differ without a scale,");
    println!("  {:.1} % differ with one", percent(scaled.into(), SAMPLES.into()));
}

/// Neighbours of f32 where the flat bound meets them.
fn spacing() {
    println!("\nfrom |y|   next f32 is off by   nearest f32 is off by at most");
    for y in [512.0_f32, 1024.0, 2048.0, 4096.0] {
        let step = f64::from(y.next_up()) - f64::from(y);
        println!("{y:8}   {step:18.3e}   {:.3e}", step / 2.0);
    }
}

/// What "absolute or relative below 1e-4" lets pass.
fn either_or() {
    let (exact, got) = (5000.0_f64, 4999.5_f64);
    let (absolute, relative) = ((got - exact).abs(), (got - exact).abs() / exact);
    let accepted = absolute <= 1e-4 || relative <= 1e-4;
    assert!(accepted);
    println!(
        "\n{got} for {exact}: absolute {absolute:e}, relative {relative:e}, accepted by either-or: {accepted}"
    );
}

fn percent(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of as f64
}
