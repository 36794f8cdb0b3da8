//! One call of one kernel in guarded memory, and what is known of it without knowing the right result.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::buffer::Buffer;
use crate::evidence::Evidence;
use crate::inputs::{Inputs, PackedBytes};
use crate::kernel::{Arguments, Kernel, Outcome, UnknownOutcome};
use crate::memory::{LARGE_BYTES, Placement, Region, Violation, fault, floats, floats_mut, with_stack};
use crate::mxcsr::Mode;
use crate::operation::Count;
use crate::property::{Cause, Failure, Property};
use crate::quiet::quiet;
use crate::registers;
use crate::shape::Shape;

/// Guarded memory for every argument of a call. Reused from call to call.
#[derive(Debug)]
pub(super) struct Arena {
    packed: Region,
    codes: Region,
    scales: Region,
    x: Region,
    /// Made when it is first used, as what follows: address space may be limited.
    activations: Option<Region>,
    /// What the kernel made of the weights, and whether it makes anything of them.
    prepared: Option<Region>,
    is_prepared: bool,
    out: Output,
    out_scales: Output,
    /// The number of the inputs that lie in the buffers, and which end of theirs is flush; `None` where others may lie there.
    laid: Option<(u64, Flush)>,
    /// The packed bytes that lie in their buffer, and where.
    laid_packed: Option<(PackedBytes, Placement)>,
}

/// Guarded memory for an output.
#[derive(Debug)]
struct Output {
    plain: Region,
    slack: Region,
    /// Whether the output lies in `slack`.
    is_before_slack: bool,
}

impl Output {
    fn new(buffer: Buffer) -> Self {
        Self {
            plain: Region::new(buffer),
            slack: Region::for_output_with_slack(buffer),
            is_before_slack: false,
        }
    }

    fn region(&self) -> &Region {
        if self.is_before_slack { &self.slack } else { &self.plain }
    }

    fn region_mut(&mut self) -> &mut Region {
        if self.is_before_slack { &mut self.slack } else { &mut self.plain }
    }

    fn given_mut(&mut self) -> &mut [u8] {
        self.region_mut().given_mut()
    }
}

/// What a call left behind.
#[derive(Clone, Debug)]
pub(super) struct CallResult {
    /// `None` after a panic.
    pub(super) outcome: Option<Outcome>,
    /// The outputs, codes widened, f32 as bits: what must be written, and then the slack ([`Inputs::output_place`]).
    pub(super) output: Vec<u32>,
    pub(super) failures: Vec<Failure>,
    /// Whether the registers that it must preserve were looked at.
    pub(super) sees_registers: bool,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            packed: Region::new(Buffer::Packed),
            codes: Region::new(Buffer::Codes),
            scales: Region::new(Buffer::Scales),
            x: Region::new(Buffer::X),
            activations: None,
            prepared: None,
            is_prepared: false,
            out: Output::new(Buffer::Out),
            out_scales: Output::new(Buffer::OutScales),
            laid: None,
            laid_packed: None,
        }
    }

    /// Lays the inputs out over an output of `old` bits, calls the kernel and looks at what it did to memory, inputs, modes and
    /// slack outputs.
    pub(super) fn call(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        flush: Flush,
        old: u32,
    ) -> CallResult {
        self.lay(inputs, flush);
        self.fill_out(inputs, old);
        self.call_on(kernel, inputs, Some(old))
    }

    /// The same with inputs that have a number: they stay where they are for the next kernel.
    pub(super) fn call_numbered(
        &mut self,
        kernel: &dyn Kernel,
        (number, inputs): (u64, &Inputs),
        flush: Flush,
        old: u32,
    ) -> CallResult {
        if self.laid != Some((number, flush)) {
            self.lay(inputs, flush);
        }
        self.fill_out(inputs, old);
        let result = self.call_on(kernel, inputs, Some(old));
        self.laid = result.failures.is_empty().then_some((number, flush));
        result
    }

    /// Calls the kernel on what the last [`call`](Self::call) laid out, over what it wrote.
    pub(super) fn call_again(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> CallResult {
        self.call_on(kernel, inputs, None)
    }

    /// Calls the kernel on what lies in the buffers; `old` is what the output holds, where that is known.
    fn call_on(&mut self, kernel: &dyn Kernel, inputs: &Inputs, old: Option<u32>) -> CallResult {
        fault::go_on();
        // A call over what another wrote has weights that are prepared.
        let unprepared = old.and_then(|_| self.prepare(kernel, inputs));
        let mut result = unprepared.unwrap_or_else(|| {
            self.seal(inputs);
            guarded(inputs.stack, || kernel.call(self.arguments(inputs)))
        });
        result.failures.extend(self.violations(inputs, result.outcome));
        result.failures.extend(self.changed_input(inputs));
        result.output = self.output(inputs);
        let outside = old.and_then(|old| written_outside(inputs, result.outcome, &result.output, old));
        result.failures.extend(outside);
        result
    }

    /// Has the kernel prepare the weights that lie in the buffers, if it does that: what its call did where it is not done. The prepared
    /// weights are then laid against a guard like an input: the product cannot write them, and finds them at another address.
    fn prepare(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> Option<CallResult> {
        self.is_prepared = false;
        let bytes = kernel.prepared_bytes(&self.arguments(inputs))?;
        let mut written = Region::unprotected(Buffer::Prepared);
        written.place(bytes, end(inputs, Buffer::Prepared)).fill(UNPREPARED);
        self.seal(inputs);
        let mut call = guarded(inputs.stack, || kernel.prepare(&self.arguments(inputs), written.bytes_mut()));
        call.failures.extend(written.violation().and_then(|seen| as_failure(seen, call.outcome, inputs)));
        call.failures.extend(self.violations(inputs, call.outcome));
        let place = self.region_mut(Buffer::Prepared).place(bytes, end(inputs, Buffer::Prepared));
        place.copy_from_slice(written.bytes());
        self.is_prepared = true;
        let is_right = call.outcome == Some(Outcome::Done) && call.failures.is_empty();
        (!is_right).then_some(call)
    }

    /// Makes what the kernel may only read unwritable.
    fn seal(&mut self, inputs: &Inputs) {
        let prepared = self.is_prepared.then_some(Buffer::Prepared);
        used(inputs).chain(prepared).for_each(|buffer| self.region_mut(buffer).seal());
    }

    fn lay(&mut self, inputs: &Inputs, flush: Flush) {
        self.laid = None;
        let placement = |buffer| flush.placement(inputs, buffer);
        // Sparse memory is fresh for each call, and is not kept for others: its gaps are zeros.
        if inputs.packed.is_sparse() || self.packed.capacity() >= LARGE_BYTES {
            self.packed = Region::new(Buffer::Packed);
            self.laid_packed = None;
        }
        for &buffer in inputs.buffers() {
            if buffer == Buffer::Packed && self.has_packed(inputs, placement(buffer)) {
                continue;
            }
            let place = self
                .region_mut(buffer)
                .place(inputs.len(buffer) * inputs.operation.width(buffer), placement(buffer));
            fill(place, inputs, buffer);
        }
        for &buffer in inputs.operation.outputs() {
            let (width, placement) = (inputs.operation.width(buffer), placement(buffer));
            let output = if buffer == Buffer::Out { &mut self.out } else { &mut self.out_scales };
            output.is_before_slack = matches!(placement, Placement::BeforeSlack { .. });
            output.region_mut().place(inputs.len(buffer) * width, placement);
        }
    }

    /// Whether the packed bytes lie there already. From now on they do.
    fn has_packed(&mut self, inputs: &Inputs, placement: Placement) -> bool {
        let is_there = |(packed, place): &(PackedBytes, Placement)| {
            *place == placement && packed.is_shared_with(&inputs.packed)
        };
        if self.laid_packed.as_ref().is_some_and(is_there) {
            return true;
        }
        self.laid_packed = Some((inputs.packed.clone(), placement));
        false
    }

    fn fill_out(&mut self, inputs: &Inputs, old: u32) {
        for &buffer in inputs.operation.outputs() {
            let out = self.region_mut(buffer).bytes_mut();
            match inputs.operation.width(buffer) {
                1 => out.fill(old as u8),
                _ => floats_mut(out).fill(f32::from_bits(old)),
            }
        }
    }

    fn arguments(&mut self, inputs: &Inputs) -> Arguments<'_> {
        let Self { packed, codes, scales, x, activations, prepared, is_prepared, out, out_scales, .. } = self;
        let operation = inputs.operation;
        let Shape { rows, cols, row_stride, batch, x_stride, out_stride, .. } = inputs.shape;
        let reads = |buffer| inputs.buffers().contains(&buffer);
        // Other buffers have what an earlier call left there.
        fn given(is_read: bool, region: &Region) -> &[u8] {
            if is_read { region.given() } else { &[] }
        }
        let writes_scales = operation.outputs().contains(&Buffer::OutScales);
        let (out_bytes, out): (&mut [u8], &mut [f32]) = match (operation.width(Buffer::Out), writes_scales) {
            (1, false) => (out.given_mut(), &mut []),
            (1, true) => (out.given_mut(), floats_mut(out_scales.given_mut())),
            _ => (&mut [], floats_mut(out.given_mut())),
        };
        Arguments {
            packed: given(reads(Buffer::Packed), packed),
            codes: given(reads(Buffer::Codes), codes),
            scales: reads(Buffer::Scales).then(|| floats(scales.given())),
            x: floats(given(reads(Buffer::X), x)),
            activations: activations.as_ref().map_or(&[], |region| given(reads(Buffer::Activations), region)),
            prepared: prepared.as_ref().map_or(&[], |region| given(*is_prepared, region)),
            out_bytes,
            out,
            rows,
            cols,
            row_stride,
            batch,
            x_stride,
            out_stride,
            digits: inputs.digits.into(),
        }
    }

    /// The first access to each buffer that no kernel may make.
    fn violations(&mut self, inputs: &Inputs, outcome: Option<Outcome>) -> Vec<Failure> {
        let all = used(inputs).chain(self.is_prepared.then_some(Buffer::Prepared));
        let seen = all.filter_map(|buffer| self.region_mut(buffer).violation());
        seen.filter_map(|violation| as_failure(violation, outcome, inputs)).collect()
    }

    /// The first byte of an input that is not as it was. Puts all of that input back.
    fn changed_input(&mut self, inputs: &Inputs) -> Option<Failure> {
        let changed = inputs.buffers().iter().find_map(|&buffer| {
            let after = self.region(buffer).bytes();
            let (at, before) = pieces_of(inputs, buffer).find_map(|(start, before)| {
                let after = &after[start..start + before.len()];
                // Comparing slices first is what makes this cheap.
                if before == after {
                    return None;
                }
                let at = before.iter().zip(after).position(|(before, after)| before != after)?;
                Some((start + at, before[at]))
            })?;
            let evidence = Evidence::Input { buffer, byte: at, was: before, is: after[at] };
            Some(Failure::new(Property::Inputs, Cause::Changed(buffer), evidence))
        });
        if changed.is_some() {
            inputs
                .buffers()
                .iter()
                .for_each(|&buffer| fill(self.region_mut(buffer).bytes_mut(), inputs, buffer));
        }
        changed
    }

    fn output(&self, inputs: &Inputs) -> Vec<u32> {
        let mut output =
            Vec::with_capacity(inputs.operation.outputs().iter().map(|&out| inputs.len(out)).sum());
        for (buffer, piece) in inputs.output_pieces() {
            let out = self.region(buffer).bytes();
            match inputs.operation.width(buffer) {
                1 => output.extend(out[piece].iter().copied().map(u32::from)),
                _ => output.extend(floats(out)[piece].iter().map(|value| value.to_bits())),
            }
        }
        output
    }

    /// A region that is made when it is first used.
    fn late(&self, buffer: Buffer) -> &Option<Region> {
        if buffer == Buffer::Activations { &self.activations } else { &self.prepared }
    }

    fn region(&self, buffer: Buffer) -> &Region {
        match buffer {
            Buffer::Packed => &self.packed,
            Buffer::Codes => &self.codes,
            Buffer::Scales => &self.scales,
            Buffer::X => &self.x,
            Buffer::Activations | Buffer::Prepared => {
                self.late(buffer).as_ref().expect("a buffer that is used was laid")
            }
            Buffer::Out => self.out.region(),
            Buffer::OutScales => self.out_scales.region(),
        }
    }

    fn region_mut(&mut self, buffer: Buffer) -> &mut Region {
        match buffer {
            Buffer::Packed => &mut self.packed,
            Buffer::Codes => &mut self.codes,
            Buffer::Scales => &mut self.scales,
            Buffer::X => &mut self.x,
            Buffer::Activations => self.activations.get_or_insert_with(|| Region::new(buffer)),
            Buffer::Prepared => self.prepared.get_or_insert_with(|| Region::new(buffer)),
            Buffer::Out => self.out.region_mut(),
            Buffer::OutScales => self.out_scales.region_mut(),
        }
    }
}

/// Calls a kernel, on a stack of `stack` bytes or, where that is 0, on this one: its answer and what it did to the thread, without outputs.
pub(super) fn guarded(stack: usize, kernel: impl FnOnce() -> Outcome + Send) -> CallResult {
    let call = || {
        let mode = Mode::now();
        let called = quiet(|| catch_unwind(AssertUnwindSafe(kernel)));
        let mode_left = Mode::now();
        mode.restore();
        (mode, called, mode_left, registers::take())
    };
    let (mode, called, mode_left, registers) = if stack == 0 { call() } else { with_stack(stack, call) };
    let mut failures = Vec::new();
    let outcome = called.map_err(|payload| failures.push(ended_by(payload.as_ref()))).ok();
    let sees_registers = registers.is_some();
    if let Some(changed) = registers.flatten() {
        failures.push(Failure::new(Property::Registers, Cause::Process, format!("the kernel {changed}")));
    }
    if mode_left != mode {
        let detail =
            format!("the floating-point mode was {mode} before the call and is {mode_left} after it");
        failures.push(Failure::new(Property::Mxcsr, Cause::Mode, detail));
    }
    CallResult { outcome, output: Vec::new(), failures, sees_registers }
}

/// What bytes hold that a kernel has not prepared.
const UNPREPARED: u8 = 0xa5;

/// The buffers of the call.
fn used(inputs: &Inputs) -> impl Iterator<Item = Buffer> + use<> {
    inputs.buffers().iter().chain(inputs.operation.outputs()).copied()
}

/// Lays an input out in its place.
fn fill(place: &mut [u8], inputs: &Inputs, buffer: Buffer) {
    for (start, piece) in pieces_of(inputs, buffer) {
        place[start..start + piece.len()].copy_from_slice(piece);
    }
}

/// Which end of every buffer lies against its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// The end.
    End,
    /// The start, moved by the offsets of the case.
    Start,
    /// The end of inputs. What must not be written of an output, slack or all of it, cannot be written; where it must all be written it is
    /// as with [`End`](Self::End).
    Slack,
}

impl Flush {
    fn placement(self, inputs: &Inputs, buffer: Buffer) -> Placement {
        let width = inputs.operation.width(buffer);
        match self {
            Self::Slack if buffer.is_output() => {
                match if inputs.is_legal() { inputs.extent(buffer) } else { 0 } {
                    written if written < inputs.len(buffer) => {
                        Placement::BeforeSlack { written: written * width }
                    }
                    _ => end(inputs, buffer),
                }
            }
            Self::End | Self::Slack => end(inputs, buffer),
            Self::Start => Placement::StartFlush { offset: usize::from(inputs.offset[buffer]) * width },
        }
    }
}

/// At the guard behind a buffer, as near as what is required lets it.
fn end(inputs: &Inputs, buffer: Buffer) -> Placement {
    inputs.requirements.place(Placement::EndFlush, inputs.operation.width(buffer), buffer.is_output())
}

/// The bytes of an input, piece by piece, each with its place in the buffer: one piece, but for sparse memory.
fn pieces_of(inputs: &Inputs, buffer: Buffer) -> impl Iterator<Item = (usize, &[u8])> {
    let whole = match buffer {
        Buffer::Packed | Buffer::Out | Buffer::OutScales | Buffer::Prepared => None,
        Buffer::Activations => Some(inputs.quantized.as_slice()),
        Buffer::Codes => Some(inputs.codes.as_slice()),
        Buffer::Scales => inputs.scales.as_deref().map(float_bytes),
        Buffer::X => Some(float_bytes(&inputs.x)),
    };
    let packed = (buffer == Buffer::Packed).then(|| inputs.packed.pieces());
    packed.into_iter().flatten().chain(whole.map(|bytes| (0, bytes)))
}

/// What a panic of a kernel is a failure of.
fn ended_by(payload: &(dyn Any + Send)) -> Failure {
    if let Some(UnknownOutcome(answer)) = payload.downcast_ref() {
        let detail = format!("the kernel answers {answer}; 0 is done, 1 not supported, 2 refused");
        return Failure::new(Property::Sizes, Cause::UnknownAnswer, detail);
    }
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Failure::new(Property::Panic, Cause::Panic, format!("the kernel panicked: {text}"))
}

fn float_bytes(floats: &[f32]) -> &[u8] {
    // SAFETY: u8 has no alignment and no invalid values, and f32 has no padding.
    let (before, bytes, behind) = unsafe { floats.align_to::<u8>() };
    debug_assert!(before.is_empty() && behind.is_empty(), "every f32 is aligned for u8");
    bytes
}

/// Slack outputs, and every output of a call that was refused, must hold what they held before.
fn written_outside(inputs: &Inputs, outcome: Option<Outcome>, output: &[u32], old: u32) -> Option<Failure> {
    let untouched = if outcome == Some(Outcome::Done) { inputs.outputs().min(output.len()) } else { 0 };
    let byte = u32::from(old as u8);
    let is_changed = |&at: &usize| {
        output[at] != old
            && (output[at] != byte || inputs.operation.width(inputs.output_place(at).0) != size_of::<u8>())
    };
    let (buffer, index) = inputs.output_place((untouched..output.len()).find(is_changed)?);
    let (property, cause, what) = match outcome {
        Some(Outcome::Refused) => (Property::Sizes, Cause::Written, "although the call was refused"),
        Some(Outcome::Unsupported) => {
            (Property::Sizes, Cause::Written, "although the operation is not supported")
        }
        Some(Outcome::Done) if inputs.operation.spec().out.1 == Count::Matrix => {
            (Property::Memory, Cause::Slack, "past the last block")
        }
        Some(Outcome::Done) => (Property::Memory, Cause::Slack, "past the last row"),
        None => return None,
    };
    Some(Failure::new(property, cause, format!("the kernel writes {}[{index}], {what}", buffer.name())))
}

/// What a violation is a failure of. `None` where wrong sizes are accepted: that is found as such, and an output is then written.
fn as_failure(violation: Violation, outcome: Option<Outcome>, inputs: &Inputs) -> Option<Failure> {
    let (property, cause) = match violation {
        Violation::OutOfBounds { buffer, write, distance } => {
            (Property::Memory, Cause::OutOfBounds { buffer, past_end: distance > 0, write })
        }
        Violation::ReadOnly { buffer, byte } if buffer.is_output() => match outcome {
            Some(Outcome::Refused | Outcome::Unsupported) => {
                let detail = format!(
                    "the kernel writes byte {byte} of `{}`, although it does not do the call",
                    buffer.name()
                );
                return Some(Failure::new(Property::Sizes, Cause::Written, detail));
            }
            _ if byte < inputs.extent(buffer) * inputs.operation.width(buffer) => return None,
            _ => (Property::Memory, Cause::Slack),
        },
        Violation::ReadOnly { buffer, .. } => (Property::Memory, Cause::Changed(buffer)),
    };
    Some(Failure::new(property, cause, Evidence::Access(violation)))
}
