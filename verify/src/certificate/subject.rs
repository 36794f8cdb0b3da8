//! A call of the shape in question, in memory whose every byte is accounted for.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::evaluate::Prediction;
use super::expression::{Node, WIDTH};
use super::machine::Machine;
use super::memory::Place;
use super::outputs::{self, Wiring};
use super::recorder::Recording;
use super::refusal::{Refusal, Shown};
use super::value::Datum;
use crate::buffer::Buffer;
use crate::case::Case;
use crate::inputs::Inputs;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;
use crate::quiet::quiet;

/// The buffers of a call.
pub(super) struct Subject {
    pub(super) inputs: Inputs,
    pub(super) codes: Vec<u8>,
    pub(super) floats: Vec<f32>,
}

/// The arguments of a recorded call: where they lay, and their words.
pub(super) struct Slot {
    address: u64,
    words: Vec<u64>,
}

impl Subject {
    pub(super) fn new(case: &Case) -> Self {
        let inputs = case.materialize(None).expect("seeded cases have data");
        let len = |is_written| if is_written { inputs.out_len } else { 0 };
        let writes_codes = inputs.operation == Operation::Unpack;
        Self { codes: vec![u8::MAX; len(writes_codes)], floats: vec![f32::NAN; len(!writes_codes)], inputs }
    }

    fn arguments(&mut self) -> Arguments<'_> {
        self.inputs.arguments(&mut self.codes, &mut self.floats)
    }

    /// Whether the kernel has a step that prepares the weights.
    pub(super) fn is_prepared_by(&mut self, kernel: &dyn Kernel) -> bool {
        kernel.prepared_bytes(&self.arguments()).is_some()
    }

    /// Calls the kernel; `None` after a panic.
    pub(super) fn call(&mut self, kernel: &dyn Kernel) -> Option<Outcome> {
        quiet(|| catch_unwind(AssertUnwindSafe(|| kernel.call(self.arguments())))).ok()
    }

    /// Calls the kernel instruction by instruction.
    pub(super) fn record(&mut self, kernel: &dyn Kernel) -> Result<(Recording, Slot), Refusal> {
        let mut arguments = self.arguments();
        let start = &raw const arguments;
        let words = size_of::<Arguments<'_>>() / size_of::<u64>();
        // SAFETY: arguments consist of words, without padding, and live.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<u64>(), words) }.to_vec();
        let slot = Slot { address: start.expose_provenance() as u64, words };
        let recording = Recording::of(kernel, &mut arguments)
            .map_err(|error| Refusal::of(Shown::Call, format!("cannot be followed: {error}")))?;
        if recording.outcome != Some(Outcome::Done) {
            return Err(Refusal::of(Shown::Call, "does not do this call"));
        }
        if recording.is_cut {
            return Err(Refusal::of(
                Shown::Call,
                "executes more instructions than fit: take a smaller shape",
            ));
        }
        Ok((recording, slot))
    }

    /// Lays the buffers, the arguments and the kernel's description in the memory of a call.
    pub(super) fn lay(&mut self, machine: &mut Machine, slot: Slot, kernel: &dyn Kernel) {
        let is_scaled = self.inputs.scales.is_some();
        for &buffer in self.inputs.operation.inputs(is_scaled) {
            self.lay_input(machine, buffer);
        }
        let (start, len) = self.output();
        add(machine, Buffer::Out.name(), start, len, true);
        let object = std::ptr::from_ref(kernel).cast::<u64>();
        // SAFETY: the description of a kernel lives.
        let own = unsafe { std::slice::from_raw_parts(object.cast::<u8>(), size_of_val(kernel)) };
        let start = object.expose_provenance() as u64;
        add(machine, "the kernel's description", start, own.len(), false);
        let known: Vec<Datum> = own.iter().map(|&value| Datum { value, ..Datum::ZERO }).collect();
        machine.memory.write(start, &known);
        lay_words(machine, "the arguments", slot.address, &slot.words, true);
    }

    fn lay_input(&mut self, machine: &mut Machine, buffer: Buffer) {
        let (start, len) = self.input(buffer);
        add(machine, buffer.name(), start, len, false);
        let values = &mut machine.values;
        let data: Vec<Datum> = match buffer {
            Buffer::X | Buffer::Scales => (0..(len / WIDTH) as u32)
                .flat_map(|at| {
                    let node = if buffer == Buffer::X { Node::X(at) } else { Node::Scale(at) };
                    values.element(node).map(Datum::of)
                })
                .collect(),
            _ => (0..len as u32)
                .map(|byte| {
                    let bits = std::array::from_fn(|bit| values.functions.variable(8 * byte + bit as u32));
                    values.byte(bits)
                })
                .collect(),
        };
        machine.memory.write(start, &data);
    }

    /// Where the bytes of an input are, and how many.
    fn input(&self, buffer: Buffer) -> (u64, usize) {
        let Inputs { packed, codes, scales, x, .. } = &self.inputs;
        match buffer {
            Buffer::Packed => place(packed.kept()),
            Buffer::Codes => place(codes),
            Buffer::Scales => place(scales.as_deref().unwrap_or_default()),
            _ => place(x),
        }
    }

    fn output(&self) -> (u64, usize) {
        if self.codes.is_empty() { place(&self.floats) } else { place(&self.codes) }
    }

    /// Holds what the outputs are made of against the operation.
    pub(super) fn verify(&self, machine: &mut Machine) -> Result<Wiring, Refusal> {
        let (start, _) = self.output();
        let (values, memory) = (&mut machine.values, &machine.memory);
        outputs::verify(values, &self.inputs, |at, len| {
            memory.read(super::memory::Memory::STACK, start + at as u64, len)
        })
    }

    /// The first output of this call that is not what the expressions of the one that was followed give, if there is one.
    pub(super) fn first_unpredicted(&self, machine: &Machine, traced: &Self) -> Option<usize> {
        let prediction = Prediction::new(&machine.values, &self.inputs);
        let (start, _) = traced.output();
        let read =
            |at: usize, len: usize| machine.memory.read(super::memory::Memory::STACK, start + at as u64, len);
        let is_predicted = |at: usize| match self.inputs.operation {
            Operation::Unpack => prediction.number(&read(at, 1)) == u32::from(self.codes[at]),
            _ => prediction.number(&read(WIDTH * at, WIDTH)) == self.floats[at].to_bits(),
        };
        self.inputs.written(Buffer::Out).flatten().find(|&at| !is_predicted(at))
    }
}

fn place<T>(data: &[T]) -> (u64, usize) {
    (data.as_ptr().expose_provenance() as u64, size_of_val(data))
}

fn add(machine: &mut Machine, name: &str, start: u64, len: usize, is_writable: bool) {
    let range = start..start + len as u64;
    machine.memory.add(Place { name: name.to_owned(), range, is_writable });
}

/// Words that a call is given, of which some are addresses.
fn lay_words(machine: &mut Machine, name: &str, start: u64, words: &[u64], is_writable: bool) {
    add(machine, name, start, size_of_val(words), is_writable);
    for (at, &word) in words.iter().enumerate() {
        let bytes = machine.word(word);
        let values = word.to_le_bytes();
        let data: Vec<Datum> =
            bytes.into_iter().zip(values).map(|(byte, value)| Datum { byte, value }).collect();
        machine.memory.write(start + 8 * at as u64, &data);
    }
}
