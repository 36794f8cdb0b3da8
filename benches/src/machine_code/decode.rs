//! The code of a function as a list of steps: where control goes from each, and whether it moves a vector to or from the
//! stack.
//!
//! The stack is what `rsp` points to, and `rbp` where it is made from `rsp`: there compilers put what finds no register. Memory
//! of the stack that is reached by other registers is an array of the source.

use iced_x86::{
    Decoder, DecoderOptions, FastFormatter, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

/// Why there is nothing to judge.
pub(super) type Problem = String;

/// A function, decoded.
#[derive(Debug)]
pub(super) struct Function {
    /// Its path, without hash and generic arguments.
    pub(super) path: String,
    /// Where it starts.
    pub(super) address: u64,
    /// Its instructions, in the order of their addresses.
    pub(super) steps: Vec<Step>,
}

/// An instruction.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) address: u64,
    /// As an assembler would write it: the mnemonic first.
    pub(super) text: String,
    pub(super) flow: Flow,
    /// Whether it names a vector register.
    pub(super) has_vector: bool,
    /// Whether a vector register goes to the stack or comes from it.
    pub(super) spill: Option<Spill>,
}

impl Step {
    /// What is called here, if that returns.
    pub(super) fn called(&self) -> Option<&str> {
        if let Flow::Call(name) = &self.flow { Some(name) } else { None }
    }

    /// The function that control goes to, whether it returns here or not.
    pub(super) fn left_for(&self) -> Option<&str> {
        if let Flow::Call(name) | Flow::Leave(name) = &self.flow { Some(name) } else { None }
    }
}

/// Where control goes after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next step.
    On,
    /// To the next step or to this one.
    Branch(usize),
    /// To this step.
    Jump(usize),
    /// To the function of this name and back to the next step.
    Call(String),
    /// To the function of this name and not back to this one.
    Leave(String),
    /// Nowhere in this function: a return, a trap, or a table of jumps, which is not followed.
    End,
}

/// The way of a vector to or from the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spill {
    /// Read in the loop: a constant or a table that has found no register.
    Load,
    /// Written in the loop: a sum or an intermediate value that has found none.
    Store,
}

/// Names of the functions that instructions call.
pub(super) trait Callees {
    /// The name of the function that the call or jump leads to, or that a load takes the address of.
    fn name(&self, instruction: &Instruction) -> Option<String>;
}

/// What the names of functions start with that never return: what lies behind a call of one is other code.
const NEVER_RETURN: &[&str] = &[
    "core::panicking::",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "alloc::raw_vec::capacity_overflow",
    "_Unwind_Resume",
];

/// Decodes the function whose code starts at `address`.
///
/// # Errors
/// If that is no code.
pub(super) fn decode(
    path: String,
    address: u64,
    code: &[u8],
    callees: &dyn Callees,
) -> Result<Function, Problem> {
    let instructions: Vec<Instruction> =
        Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect();
    if let Some(bad) = instructions.iter().find(|instruction| instruction.is_invalid()) {
        return Err(format!("{path}: no instruction at {:#x}", bad.ip()));
    }
    let frame = frame(&instructions);
    let (mut formatter, mut info) = (FastFormatter::new(), InstructionInfoFactory::new());
    let mut step = |instruction: &Instruction| {
        let mut text = String::new();
        formatter.format(instruction, &mut text);
        Step {
            address: instruction.ip(),
            text,
            flow: flow(instruction, &instructions, callees),
            has_vector: has_vector(instruction),
            spill: spill(instruction, frame, &mut info),
        }
    };
    let steps = instructions.iter().map(&mut step).collect();
    Ok(Function { path, address, steps })
}

fn flow(instruction: &Instruction, all: &[Instruction], callees: &dyn Callees) -> Flow {
    let target = || all.binary_search_by_key(&instruction.near_branch_target(), Instruction::ip);
    let callee = || {
        let name = address_source(instruction, all).and_then(|source| callees.name(source));
        name.unwrap_or_else(|| "a function without a name".to_owned())
    };
    match instruction.flow_control() {
        FlowControl::Next | FlowControl::XbeginXabortXend => Flow::On,
        FlowControl::ConditionalBranch => target().map_or_else(|_| Flow::Call(callee()), Flow::Branch),
        FlowControl::UnconditionalBranch => target().map_or_else(|_| Flow::Leave(callee()), Flow::Jump),
        FlowControl::IndirectBranch if instruction.is_ip_rel_memory_operand() => Flow::Leave(callee()),
        FlowControl::Call | FlowControl::IndirectCall => {
            let name = callee();
            let returns = !NEVER_RETURN.iter().any(|prefix| name.starts_with(prefix));
            if returns { Flow::Call(name) } else { Flow::Leave(name) }
        }
        FlowControl::IndirectBranch
        | FlowControl::Return
        | FlowControl::Interrupt
        | FlowControl::Exception => Flow::End,
    }
}

/// The instruction that has the address of what is called: the call itself or, if that is in a register, where compilers keep
/// it over a loop, the last load of that register before it.
fn address_source<'a>(call: &'a Instruction, all: &'a [Instruction]) -> Option<&'a Instruction> {
    if call.op0_kind() != OpKind::Register {
        return Some(call);
    }
    let loads = |earlier: &&Instruction| {
        earlier.mnemonic() == Mnemonic::Mov
            && earlier.op0_register() == call.op0_register()
            && earlier.is_ip_rel_memory_operand()
    };
    all.iter().take_while(|earlier| earlier.ip() < call.ip()).filter(loads).last()
}

/// The register that holds the address of the frame, if it is not `rsp` alone: without `mov rbp, rsp` or the like, `rbp` is
/// a register as any other.
fn frame(instructions: &[Instruction]) -> Register {
    let sets_frame = |instruction: &Instruction| {
        let from_stack = match instruction.mnemonic() {
            Mnemonic::Mov => instruction.op1_register() == Register::RSP,
            Mnemonic::Lea => instruction.memory_base() == Register::RSP,
            _ => false,
        };
        from_stack && instruction.op0_register() == Register::RBP
    };
    if instructions.iter().any(sets_frame) { Register::RBP } else { Register::RSP }
}

/// Whether an instruction names a vector register.
fn has_vector(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|at| {
        instruction.op_kind(at) == OpKind::Register && instruction.op_register(at).is_vector_register()
    })
}

fn spill(instruction: &Instruction, frame: Register, info: &mut InstructionInfoFactory) -> Option<Spill> {
    let memory = (0..instruction.op_count()).find(|&at| instruction.op_kind(at) == OpKind::Memory)?;
    let base = instruction.memory_base();
    if !has_vector(instruction) || !(base == Register::RSP || base == frame) {
        return None;
    }
    match info.info(instruction).op_access(memory) {
        OpAccess::NoMemAccess | OpAccess::None => None,
        OpAccess::Write | OpAccess::CondWrite => Some(Spill::Store),
        _ => Some(Spill::Load),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named;

    impl Callees for Named {
        fn name(&self, instruction: &Instruction) -> Option<String> {
            let panics = instruction.near_branch_target() == 0x2000;
            Some((if panics { "core::panicking::panic" } else { "other" }).to_owned())
        }
    }

    /// The only step of the code, or its last.
    fn last(code: &[u8]) -> Step {
        let function = decode("f".to_owned(), 0x1000, code, &Named).expect("this is code");
        function.steps.last().expect("there is a step").clone()
    }

    #[test]
    fn a_spill_is_a_vector_register_and_memory_of_the_stack() {
        let cases: [(&[u8], &str, Option<Spill>); 8] = [
            (&[0xc5, 0xfc, 0x11, 0x04, 0x24], "vmovups [rsp],ymm0", Some(Spill::Store)),
            (&[0xc5, 0xfc, 0x10, 0x44, 0x24, 0x20], "vmovups ymm0,[rsp+20h]", Some(Spill::Load)),
            (&[0xc5, 0xfc, 0x58, 0x04, 0x24], "vaddps ymm0,ymm0,[rsp]", Some(Spill::Load)),
            (&[0xc5, 0xfc, 0x10, 0x45, 0x00], "vmovups ymm0,[rbp]", None),
            (&[0x48, 0x89, 0xe5, 0xc5, 0xfc, 0x10, 0x45, 0x00], "vmovups ymm0,[rbp]", Some(Spill::Load)),
            (&[0x48, 0x89, 0xec, 0xc5, 0xfc, 0x10, 0x45, 0x00], "vmovups ymm0,[rbp]", None),
            (&[0xc5, 0xfc, 0x10, 0x07], "vmovups ymm0,[rdi]", None),
            (&[0x48, 0x89, 0x04, 0x24], "mov [rsp],rax", None),
        ];
        for (code, text, spill) in cases {
            let step = last(code);
            assert_eq!((step.text.as_str(), step.spill), (text, spill));
        }
    }

    #[test]
    fn control_goes_where_the_instruction_says() {
        let named = |flow: fn(String) -> Flow, name: &str| flow(name.to_owned());
        let cases: [(&[u8], Flow); 11] = [
            (&[0x90], Flow::On),
            (&[0x90, 0xeb, 0xfd], Flow::Jump(0)),
            (&[0x90, 0x74, 0xfe], Flow::Branch(1)),
            (&[0xe8, 0xfb, 0x1f, 0x00, 0x00], named(Flow::Call, "other")),
            (&[0xe8, 0xfb, 0x0f, 0x00, 0x00], named(Flow::Leave, "core::panicking::panic")),
            (&[0xe9, 0xfb, 0x1f, 0x00, 0x00], named(Flow::Leave, "other")),
            (&[0xff, 0x25, 0x00, 0x00, 0x00, 0x00], named(Flow::Leave, "other")),
            (&[0x41, 0xff, 0xd4], named(Flow::Call, "a function without a name")),
            (&[0x4c, 0x8b, 0x25, 0, 0, 0, 0, 0x41, 0xff, 0xd4], named(Flow::Call, "other")),
            (&[0xff, 0xe0], Flow::End),
            (&[0xc3], Flow::End),
        ];
        for (code, flow) in cases {
            let step = last(code);
            assert_eq!(step.flow, flow, "{}", step.text);
        }
    }

    #[test]
    fn bytes_that_are_no_instruction_are_an_error_that_says_where() {
        let error =
            decode("f".to_owned(), 0x1000, &[0x90, 0x06], &Named).expect_err("06 is none in 64-bit mode");
        assert_eq!(error, "f: no instruction at 0x1001");
    }
}
