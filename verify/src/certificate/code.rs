//! Instructions, decoded once.

use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, EncodingKind, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, OpAccess, OpKind, Register, UsedMemory,
};

use super::recorder::Registers;

/// The longest instruction.
const MOST_BYTES: usize = 15;

/// An instruction, and what it touches.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) instruction: Instruction,
    pub(super) bytes: Vec<u8>,
    /// As manuals write it, in lower case, without the `v` of AVX.
    pub(super) name: String,
    /// Whether it clears the upper part of a vector register that it writes.
    pub(super) is_vex: bool,
    /// Every piece of memory that it reads or writes, that of the stack included.
    pub(super) memory: Vec<Access>,
    /// Registers whose content it works on; those that only say where memory is are not among them.
    pub(super) reads: Vec<Register>,
    pub(super) writes: Vec<Register>,
}

/// A piece of memory that an instruction touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) base: Option<usize>,
    /// A register and what it is multiplied by.
    pub(super) index: Option<(usize, u64)>,
    displacement: u64,
    /// Whether it is relative to what belongs to the thread.
    pub(super) is_of_thread: bool,
    pub(super) len: usize,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

impl Access {
    fn of(memory: &UsedMemory) -> Option<Self> {
        use OpAccess::{CondRead, CondWrite, Read, ReadCondWrite, ReadWrite, Write};
        let access = memory.access();
        if !matches!(access, CondRead | CondWrite | Read | ReadCondWrite | ReadWrite | Write) {
            return None;
        }
        let number = |register: Register| register.is_gpr().then(|| register.number());
        Some(Self {
            base: number(memory.base()),
            index: number(memory.index()).map(|register| (register, memory.scale().into())),
            displacement: memory.displacement(),
            is_of_thread: matches!(memory.segment(), Register::FS | Register::GS),
            len: memory.memory_size().size(),
            reads: !matches!(access, CondWrite | Write),
            writes: matches!(access, CondWrite | ReadCondWrite | ReadWrite | Write),
        })
    }

    /// Where it is.
    pub(super) fn address(&self, registers: &Registers) -> u64 {
        let base = self.base.map_or(0, |register| registers.general[register]);
        let index = self.index.map_or(0, |(register, scale)| registers.general[register].wrapping_mul(scale));
        base.wrapping_add(index).wrapping_add(self.displacement)
    }
}

impl Code {
    /// The instruction at an address, which was executed.
    pub(super) fn at(address: u64) -> Self {
        let start = std::ptr::with_exposed_provenance::<u8>(address as usize);
        let mut bytes = Vec::with_capacity(MOST_BYTES);
        let instruction = loop {
            // SAFETY: the thread has executed the instruction here; the bytes are read one by one, up to its end.
            bytes.push(unsafe { start.wrapping_add(bytes.len()).read() });
            let instruction = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode();
            if !instruction.is_invalid() || bytes.len() == MOST_BYTES {
                break instruction;
            }
        };
        Self::of(instruction, bytes)
    }

    fn of(instruction: Instruction, bytes: Vec<u8>) -> Self {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&instruction);
        let is_explicit = |register: Register| {
            (0..instruction.op_count()).any(|operand| {
                instruction.op_kind(operand) == OpKind::Register
                    && instruction.op_register(operand).full_register() == register.full_register()
            })
        };
        let addresses: Vec<Register> =
            info.used_memory().iter().flat_map(|memory| [memory.base(), memory.index()]).collect();
        let is_source = |register: Register| is_explicit(register) || !addresses.contains(&register);
        let used = |access: fn(OpAccess) -> bool| {
            let registers = info.used_registers().iter();
            registers.filter(move |used| access(used.access())).map(|used| used.register())
        };
        let reads = used(|access| {
            !matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::NoMemAccess | OpAccess::None)
        });
        let writes =
            used(|access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess));
        let is_vex = instruction.encoding() == EncodingKind::VEX;
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        let name = name.strip_prefix('v').filter(|_| is_vex).unwrap_or(&name).to_owned();
        Self {
            reads: reads.filter(|&register| is_source(register)).collect(),
            writes: writes.collect(),
            memory: info.used_memory().iter().filter_map(Access::of).collect(),
            instruction,
            bytes,
            name,
            is_vex,
        }
    }

    /// The instruction in the syntax of Intel's manuals.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        IntelFormatter::new().format(&self.instruction, &mut text);
        text
    }

    /// Why no kernel may execute this, whatever it works on.
    pub(super) fn why_not(&self) -> Option<&'static str> {
        use CpuidFeature as Has;
        const KNOWN: &[CpuidFeature] = &[
            Has::INTEL8086,
            Has::INTEL186,
            Has::INTEL286,
            Has::INTEL386,
            Has::INTEL486,
            Has::X64,
            Has::CMOV,
            Has::MULTIBYTENOP,
            Has::CET_IBT,
            Has::SSE,
            Has::SSE2,
            Has::SSE3,
            Has::SSSE3,
            Has::SSE4_1,
            Has::SSE4_2,
            Has::POPCNT,
            Has::LZCNT,
            Has::MOVBE,
            Has::BMI1,
            Has::BMI2,
            Has::AVX,
            Has::AVX2,
            Has::FMA,
            Has::F16C,
            Has::PREFETCHW,
        ];
        if self.instruction.is_invalid() {
            return Some("it is no instruction that is known here");
        }
        if self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix() {
            return Some("instructions that repeat are not known here");
        }
        if self.instruction.is_vsib() {
            return Some("the addresses of a gather are not followed");
        }
        if !self.instruction.cpuid_features().iter().all(|feature| KNOWN.contains(feature)) {
            return Some("instructions of this extension are not known here");
        }
        let uses_the_machine = [
            "ldmxcsr", "syscall", "int", "int3", "into", "in", "out", "hlt", "pushfq", "popfq", "pushf",
            "popf",
        ];
        (uses_the_machine.contains(&self.name.as_str()) || self.instruction.is_string_instruction())
            .then_some("no kernel needs it")
    }
}
