//! Vectors of 2^28 elements and more, whose data repeat, in memory that does.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::call::guarded;
use super::{Harness, Prepared, Trial};
use crate::buffer::Buffer;
use crate::evidence::{Evidence, Miss};
use crate::inputs::Inputs;
use crate::judge::same_bits;
use crate::kernel::{Arguments, Kernel};
use crate::memory::{Repeated, fault, floats, floats_mut};
use crate::operation::Operation;
use crate::oracle::Expected;
use crate::property::{Cause, Failure, Property};
use crate::shape::Shape;

/// Elements around a power of two whose outputs have memory of their own, on each side.
const AROUND: usize = 1 << 16;

/// The least power of two of which that is so.
const FIRST_POWER: u32 = 24;

/// Elements for which a call is given a second more before it counts as hanging.
const ELEMENTS_A_SECOND: usize = 1 << 26;

/// Memory for the buffers of a call.
#[derive(Debug)]
pub(super) struct Long {
    packed: Option<Repeated>,
    codes: Option<Repeated>,
    scales: Option<Repeated>,
    out: Repeated,
}

impl Long {
    /// Lays the inputs out.
    ///
    /// # Errors
    /// If the system has no memory that repeats.
    pub(super) fn new(inputs: &Inputs) -> io::Result<Self> {
        let input = |buffer, period: &[u8]| {
            let len = inputs.len(buffer) * inputs.operation.width(buffer);
            let mut memory = Repeated::new(len, period.len(), &[], false)?;
            memory.fill(period);
            Ok(memory)
        };
        let input = |buffer: Buffer| -> Option<io::Result<Repeated>> {
            let scales =
                || inputs.scales.iter().flatten().flat_map(|scale| scale.to_ne_bytes()).collect::<Vec<_>>();
            inputs.buffers().contains(&buffer).then(|| match buffer {
                Buffer::Packed => input(buffer, inputs.packed.kept()),
                Buffer::Codes => input(buffer, &inputs.codes),
                _ => input(buffer, &scales()),
            })
        };
        let width = inputs.operation.width(Buffer::Out);
        let own: Vec<Range<usize>> =
            watched(inputs.out_len).map(|part| part.start * width..part.end * width).collect();
        Ok(Self {
            packed: input(Buffer::Packed).transpose()?,
            codes: input(Buffer::Codes).transpose()?,
            scales: input(Buffer::Scales).transpose()?,
            out: Repeated::new(inputs.out_len * width, inputs.period * width, &own, true)?,
        })
    }

    fn arguments(&mut self, inputs: &Inputs) -> Arguments<'_> {
        let Self { packed, codes, scales, out } = self;
        let [packed, codes] = [packed, codes].map(|memory| memory.as_ref().map_or(&[][..], Repeated::given));
        let scales = scales.as_ref().map(|memory| floats(memory.given()));
        let (out_bytes, out): (&mut [u8], &mut [f32]) = match inputs.operation.width(Buffer::Out) {
            1 => (out.given_mut(), &mut []),
            _ => (&mut [], floats_mut(out.given_mut())),
        };
        let Shape { rows, cols, row_stride, .. } = inputs.shape;
        Arguments { packed, codes, scales, out_bytes, out, rows, cols, row_stride, ..Arguments::default() }
    }
}

/// The outputs that have memory of their own: the first, the last, and those around powers of two. Parts do not overlap.
fn watched(len: usize) -> impl Iterator<Item = Range<usize>> {
    let powers =
        (FIRST_POWER..usize::BITS).map(|bits| 1 << bits).take_while(move |&power| power + AROUND < len);
    let around = powers.map(|power| power - AROUND..power + AROUND);
    let last_power = len.next_power_of_two() / 2;
    // All that lies behind the last power of two, where that is not much.
    let last = if len - last_power <= 4 * AROUND { last_power - AROUND } else { len - AROUND };
    let mut parts = vec![0..AROUND, last..len];
    parts.splice(1..1, around.filter(|part| part.end <= last));
    parts.into_iter()
}

impl Harness {
    /// Calls the kernel once. The outputs with memory of their own are held against the oracle one by one; of all others one period, each
    /// by what was written last to its place.
    pub(super) fn examine_long(
        &mut self,
        kernel: &dyn Kernel,
        prepared: &Prepared,
        expected: &Expected,
    ) -> Trial {
        let (mut trial, inputs) = (Trial::default(), &prepared.inputs);
        let (Expected::Bits(expected), Some(long)) = (expected, &prepared.long) else {
            unreachable!("a long vector has bits to be held against, and memory")
        };
        let mut long = long.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let poison = vec![self.poison(inputs); inputs.period];
        long.out.fill(&bytes(inputs.operation, &poison));
        let patience = Duration::from_secs((inputs.out_len / ELEMENTS_A_SECOND) as u64);
        let memory = &mut *long;
        let call = || kernel.call(memory.arguments(inputs));
        fault::go_on();
        let call = fault::patient(patience, || guarded(inputs.stack, call));
        if !self.is_done(kernel, inputs, &call, &mut trial) {
            return trial;
        }
        trial.is_done = true;
        let period = long.out.period();
        let parts = [(0, period.as_slice())].into_iter().chain(long.out.own());
        let wrong = parts
            .filter_map(|(start, bytes)| first_wrong(inputs, expected, start, bytes))
            .min_by_key(|&(at, _)| at);
        trial.properties.add(Property::BitExact, expected.len() as u64);
        if let Some((at, got)) = wrong {
            let must = expected[at % inputs.period];
            let cause = Cause::of_bits(inputs.operation.width(Buffer::Out), must, got);
            let evidence = Evidence::Repeated(Miss::new(inputs, at, got, must));
            trial.fail(Failure::new(Property::BitExact, cause, evidence));
        }
        trial
    }
}

/// Output elements as they lie in memory.
fn bytes(operation: Operation, elements: &[u32]) -> Vec<u8> {
    match operation.width(Buffer::Out) {
        1 => elements.iter().map(|&bits| bits as u8).collect(),
        _ => elements.iter().flat_map(|bits| bits.to_ne_bytes()).collect(),
    }
}

/// The first output of a part that is wrong, and its bits; the part begins at byte `start` of the output.
fn first_wrong(inputs: &Inputs, expected: &[u32], start: usize, part: &[u8]) -> Option<(usize, u32)> {
    let width = inputs.operation.width(Buffer::Out);
    // Pages begin in the middle of an element where the output does.
    let skip = (width - start % width) % width;
    let element = |chunk: &[u8]| chunk.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
    let elements = part[skip..].chunks_exact(width).map(element);
    let first = (start + skip) / width;
    elements
        .enumerate()
        .map(|(at, got)| (first + at, got))
        .find(|&(at, got)| !same_bits(expected[at % inputs.period], got))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_and_powers_of_two_are_watched_and_no_part_overlaps_another() {
        for len in [(1 << 30) + 70_001, (1 << 28) + 1, (1 << 28) - 1, 3 << 28, (1 << 32) + 70_001_usize] {
            let parts: Vec<_> = watched(len).collect();
            assert!(parts.windows(2).all(|pair| pair[0].end <= pair[1].start), "{len}: {parts:?}");
            assert_eq!((parts[0].start, parts.last().map(|part| part.end)), (0, Some(len)));
            for power in (24..33).map(|bits| 1 << bits).filter(|&power| power < len) {
                assert!(
                    parts.iter().any(|part| part.contains(&power) && part.contains(&(power - 1))),
                    "{len} {power}"
                );
            }
        }
    }
}
