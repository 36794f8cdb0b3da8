//! Blocks that a quantiser writes whole, held against what the oracle demands.

use super::Judgement;
use crate::oracle::{PackedFault, PackedTruth, Part};
use crate::property::{Cause, Failure, Property};
use crate::words::count;

/// Judges packed blocks, a byte each.
pub(super) fn judge_packed(
    block_bytes: usize,
    truths: &[PackedTruth],
    output: &[u32],
    judgement: &mut Judgement,
) {
    judgement.properties.add(Property::Bound, truths.len() as u64);
    let blocks = truths.iter().zip(output.chunks(block_bytes)).enumerate();
    let faults = blocks.filter_map(|(number, (truth, bytes))| {
        let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
        Some((number, truth.fault(&bytes)?))
    });
    let faults: Vec<(usize, PackedFault)> = faults.collect();
    let Some(&(number, fault)) = faults.first() else { return };
    let wrong = count(faults.len() as u64, "block");
    let PackedFault { of, got, must, bound } = fault;
    let what = match of {
        Part::Scale => "the scale".to_owned(),
        Part::Minimum => "the minimum".to_owned(),
        Part::Element(at) => format!("element {at} decoded"),
        Part::Sum(at) => format!("sum {at}"),
    };
    let detail = format!(
        "{wrong} of {} wrong; the first is block {number}: {what} is {got:e}, must be within {bound:e} of {must:e}",
        truths.len()
    );
    let cause = Cause::of_bits(size_of::<f32>(), (must as f32).to_bits(), (got as f32).to_bits());
    judgement.failures.push(Failure::new(Property::Bound, cause, detail));
}
