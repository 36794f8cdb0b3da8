//! Certificates and refusals as people and machines read them.

use qk256_verify::Kernel;
use qk256_verify::certificate::{ASSUMPTIONS, Certificate, PREDICTED_CALLS, Refusal};
use qk256_verify::words::{count, folded};
use serde_json::{Value, json};

use super::{Known, Memcheck, Shape};

/// A label and a text.
type Line = (&'static str, String);

pub(super) fn text(kernel: &dyn Kernel, shape: Shape, known: &Known) -> String {
    let lines = match &known.verdict {
        Ok(certificate) => certified(kernel, shape, certificate, known.memcheck.as_ref()),
        Err(refusal) => refused(kernel, shape, refusal),
    };
    let mut text = String::new();
    for (label, words) in lines {
        folded(&mut text, &format!("{label:<14}"), &words).expect("a string takes all");
    }
    text + "\n"
}

/// The kernel and the shape.
fn subject(kernel: &dyn Kernel, shape: Shape) -> String {
    let mut words = match kernel.operation().is_matrix() {
        true => {
            format!("{kernel:?}, {}, {}", count(shape.rows as u64, "row"), count(shape.cols as u64, "column"))
        }
        false => format!("{kernel:?}, {}", count(shape.cols as u64, "element")),
    };
    if kernel.operation().is_batched() {
        words += &format!(", {}", count(shape.batch as u64, "vector"));
    }
    words + if shape.scaled { ", with block scales" } else { "" }
}

fn refused(kernel: &dyn Kernel, shape: Shape, refusal: &Refusal) -> Vec<Line> {
    let mut lines = vec![("refused", subject(kernel, shape))];
    lines.push(("not shown", refusal.shown.name().to_owned()));
    lines.push(("because", format!("the kernel {}", refusal.what)));
    lines.extend(refusal.at.clone().map(|at| ("at", at)));
    lines
}

fn certified(kernel: &dyn Kernel, shape: Shape, of: &Certificate, memcheck: Option<&Memcheck>) -> Vec<Line> {
    let mut lines = vec![
        ("certified", subject(kernel, shape)),
        (
            "code",
            format!(
                "sha256 {}: {} executed, {} different ones",
                of.code,
                count(of.steps, "instruction"),
                of.instructions
            ),
        ),
        (
            "addresses",
            format!(
                "each of {} accesses to memory is within a buffer of the call, its stack, memory that it has allocated or constants, to the byte{}",
                of.accesses,
                called(of)
            ),
        ),
        ("obliviousness", oblivious(of, memcheck)),
        ("instructions", instructions(of)),
        ("wiring", wiring(kernel, of)),
    ];
    if kernel.operation().sums_floats() {
        lines.push(("order", order(of)));
    }
    lines.push(("predicted", format!("every bit of {} on other data", count(PREDICTED_CALLS, "call"))));
    lines.push(("assumed", ASSUMPTIONS.join("; ")));
    lines
}

fn called(of: &Certificate) -> String {
    let calls: Vec<String> = of.called.iter().map(|(name, times)| format!("{name} ({times})")).collect();
    if calls.is_empty() { String::new() } else { format!("; of the C library it calls {}", calls.join(", ")) }
}

fn oblivious(of: &Certificate, memcheck: Option<&Memcheck>) -> String {
    let lookups = match of.lookups {
        0 => "no branch and no address depends on weights, scales or activations, or on where buffers lie"
            .to_owned(),
        lookups => format!(
            "no branch depends on data or on where buffers lie; no address does, but for {} of constants by a code, of which every one was looked at",
            count(lookups, "look-up")
        ),
    };
    let memcheck = match memcheck {
        Some(Memcheck::Clean) => "memcheck sees none on undefined data",
        Some(Memcheck::NotAsked(why)) => return format!("{lookups}; memcheck was not asked: {why}"),
        _ => "memcheck was not asked",
    };
    format!("{lookups}; {memcheck}")
}

fn instructions(of: &Certificate) -> String {
    let effects = of.effects.iter().map(|(effect, times)| format!("{} {times}", effect.name()));
    format!("on data: {}", effects.collect::<Vec<_>>().join(", "))
}

fn wiring(kernel: &dyn Kernel, of: &Certificate) -> String {
    let outputs = count(of.outputs as u64, "output");
    match kernel.operation().sums_floats() {
        true => format!(
            "each of {outputs} adds every column once: the weight of its own code, for every code, times its own x; {} in all",
            count(of.terms as u64, "product")
        ),
        false => format!("each of {outputs} is made of its own code, rightly for every code"),
    }
}

fn order(of: &Certificate) -> String {
    let mut words = format!(
        "a product goes through {} that round at most, {} of them additions",
        count(of.roundings.into(), "operation"),
        of.depth
    );
    match of.largest_error {
        Some(error) => words += &format!("; for |x| <= 1 no output is off by more than {error:.3e}"),
        None => {
            words +=
                "; no output is off by more than that many roundings of the sum of its products' magnitudes"
        }
    }
    words
}

pub(super) fn json(kernel: &dyn Kernel, shape: Shape, known: &Known) -> Value {
    let mut object = json!({
        "verdict": if known.verdict.is_ok() { "certified" } else { "refused" },
        "kernel": kernel.name(),
        "operation": kernel.operation().name(),
        "format": kernel.domain().format.name,
        "library": kernel.library().map(|library| &library.path),
        "rows": shape.rows,
        "cols": shape.cols,
        "batch": shape.batch,
        "scaled": shape.scaled,
        "memcheck": known.memcheck,
    });
    match &known.verdict {
        Ok(certificate) => {
            object["certificate"] = json!(certificate);
            object["assumed"] = json!(ASSUMPTIONS);
        }
        Err(refusal) => object["refusal"] = json!(refusal),
    }
    object
}
