//! What instructions read and write: registers and memory, byte by byte.

use super::*;

impl Machine {
    /// What is known of a register; `None` of one that is not followed.
    pub(super) fn register(&self, register: Register) -> Option<&[Byte]> {
        let (from, len) = (high_byte(register), register.size());
        if register.is_gpr() {
            return Some(&self.general[number(register)][from..from + len]);
        }
        is_vector(register).then(|| &self.vectors[register.number()][..len.min(VECTOR)])
    }

    pub(super) fn register_data(&self, register: Register, before: &Registers) -> Option<Vec<Datum>> {
        let bytes = self.register(register)?;
        let (from, place) = (high_byte(register), number(register));
        let value = |at: usize| match register.is_gpr() {
            true => before.general[place].to_le_bytes()[from + at],
            false => before.vectors[place][at / WORD].to_le_bytes()[at % WORD],
        };
        Some(bytes.iter().enumerate().map(|(at, &byte)| Datum { byte, value: value(at) }).collect())
    }

    /// What an explicit operand holds.
    pub(in crate::certificate) fn operand(
        &self,
        code: &Code,
        operand: u32,
        before: &Registers,
    ) -> Vec<Datum> {
        match code.instruction.op_kind(operand) {
            OpKind::Register => {
                self.register_data(code.instruction.op_register(operand), before).unwrap_or_default()
            }
            OpKind::Memory => self.looked_up.clone().unwrap_or_else(|| self.memory_data(code, before)),
            _ => Vec::new(),
        }
    }

    /// What the memory of an instruction with one access holds.
    pub(super) fn memory_data(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        let Some(access) = code.memory.first() else { return Vec::new() };
        let address = access.address(before);
        let place = match self.memory.modules.find(address) {
            Some(_) => Memory::STATIC,
            None => Memory::STACK,
        };
        self.memory.read(place, address, access.len)
    }

    /// Everything that an instruction works on.
    pub(super) fn sources(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        let registers = code.reads.iter().filter(|&&register| number(register) != RSP || !register.is_gpr());
        let mut data: Vec<Datum> =
            registers.filter_map(|&register| self.register_data(register, before)).flatten().collect();
        if code.memory.iter().any(|access| !access.writes || access.reads) {
            data.extend(self.looked_up.clone().unwrap_or_else(|| self.memory_data(code, before)));
        }
        data
    }

    /// The operands of an instruction, in the order of the manual.
    pub(super) fn operands<'a>(&self, code: &'a Code, before: &Registers) -> Operands<'a> {
        let instruction = &code.instruction;
        let count = instruction.op_count();
        let kinds: Vec<OpKind> = (0..count).map(|operand| instruction.op_kind(operand)).collect();
        let is_place = |kind: &OpKind| matches!(kind, OpKind::Register | OpKind::Memory);
        let destination = if count > 0 { self.operand(code, 0, before) } else { Vec::new() };
        let len = destination.len();
        let places = || (1..count).filter(|&operand| is_place(&kinds[operand as usize]));
        let mut sources: Vec<Vec<Datum>> =
            places().map(|operand| self.operand(code, operand, before)).collect();
        let number = (1..count).find(|&operand| !is_place(&kinds[operand as usize]));
        let immediate = number.map(|operand| instruction.immediate(operand));
        // Of integer instructions a number is an operand as any other.
        let is_source = immediate.filter(|_| is_integer(&code.name) && sources.is_empty());
        if let Some(value) = is_source {
            sources.push(
                value.to_le_bytes()[..len].iter().map(|&value| Datum { value, ..Datum::ZERO }).collect(),
            );
        }
        if !code.is_vex && matches!(code.name.as_str(), "blendvps" | "blendvpd" | "pblendvb") {
            sources = vec![destination.clone(), sources.swap_remove(0)];
            sources.extend(self.register_data(Register::XMM0, before));
        }
        let registers: Vec<Register> = places()
            .chain((!code.is_vex).then_some(0))
            .filter(|&operand| kinds[operand as usize] == OpKind::Register)
            .map(|operand| instruction.op_register(operand))
            .collect();
        Operands {
            name: &code.name,
            is_store: kinds.first() == Some(&OpKind::Memory),
            is_load: kinds.get(1) == Some(&OpKind::Memory),
            is_of_one_register: matches!(registers[..], [a, b] if a == b),
            destination,
            sources,
            immediate: immediate.filter(|_| is_source.is_none()),
        }
    }

    /// Writes the result of an instruction to its destination.
    pub(super) fn write(&mut self, code: &Code, data: &[Datum], before: &Registers) {
        self.write_operand(code, 0, data, before);
    }

    pub(super) fn write_operand(&mut self, code: &Code, operand: u32, data: &[Datum], before: &Registers) {
        if code.instruction.op_kind(operand) != OpKind::Register {
            let address =
                code.memory.iter().find(|access| access.writes).map(|access| access.address(before));
            if let Some(address) = address {
                self.memory.write(address, data);
            }
            return;
        }
        let bytes: Vec<Byte> = data.iter().map(|datum| datum.byte).collect();
        self.set(code.instruction.op_register(operand), &bytes, code.is_vex);
    }

    /// Makes a register hold these bytes. Those above are cleared, where instructions do so.
    pub(super) fn set(&mut self, register: Register, bytes: &[Byte], clears: bool) {
        let from = high_byte(register);
        if register.is_gpr() {
            let whole = &mut self.general[number(register)];
            whole[from..from + bytes.len()].copy_from_slice(bytes);
            if register.size() == 4 {
                whole[4..].fill(Byte::KNOWN);
            }
        } else if is_vector(register) {
            let whole = &mut self.vectors[register.number()];
            whole[..bytes.len()].copy_from_slice(bytes);
            if clears {
                whole[bytes.len()..].fill(Byte::KNOWN);
            }
        }
    }

    pub(super) fn write_known(&mut self, register: Register, clears: bool) {
        if register.is_gpr() && number(register) == RSP {
            return;
        }
        self.set(register, &[Byte::KNOWN; VECTOR][..register.size().min(VECTOR)], clears);
    }

    /// Makes a register hold what nothing may depend on.
    pub(super) fn taint(&mut self, register: Register, is_undefined: bool) {
        if register.is_gpr() && number(register) == RSP {
            return;
        }
        let byte = |at| match (is_undefined, register.is_gpr()) {
            (true, _) => Byte::UNDEFINED,
            (false, true) => Byte::address(Addresses::OTHER, at as u8),
            (false, false) => Byte::UNCLEAR,
        };
        let bytes: Vec<Byte> = (0..register.size().min(VECTOR)).map(byte).collect();
        self.set(register, &bytes, false);
    }

    /// The second operand, as wide as the first.
    pub(super) fn second(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        if code.instruction.op_count() < 2 {
            return Vec::new();
        }
        self.operand(code, 1, before)
    }
}

/// Whether it is a vector register, by any of its names.
pub(super) fn is_vector(register: Register) -> bool {
    register.is_xmm() || register.is_ymm() || register.is_zmm()
}

pub(super) fn number(register: Register) -> usize {
    if register.is_gpr() { register.full_register().number() } else { register.number() }
}

/// 1 for the second byte of a register, which some instructions name.
pub(super) fn high_byte(register: Register) -> usize {
    usize::from(matches!(register, Register::AH | Register::BH | Register::CH | Register::DH))
}

/// Whether an instruction of this name takes a number as it takes a register.
fn is_integer(name: &str) -> bool {
    matches!(name, "mov" | "and" | "or" | "xor" | "add" | "sub")
}
