//! The stack, and what functions preserve.

use super::*;

impl Machine {
    /// Instructions that move the stack pointer, which stays an address of the stack, and what goes with it.
    pub(super) fn moves_on_stack(&mut self, code: &Code, before: &Registers) -> bool {
        match code.name.as_str() {
            "push" => {
                let data = match code.instruction.op_kind(0) {
                    OpKind::Register | OpKind::Memory => self.operand_of_push(code, before),
                    _ => vec![Datum::ZERO; WORD],
                };
                self.memory.write(before.stack() - WORD as u64, &data);
            }
            "pop" => {
                let data = self.memory.read(Memory::STACK, before.stack(), WORD);
                self.write(code, &data, before);
            }
            "leave" => {
                let data = self.memory.read(Memory::STACK, before.general[RBP], WORD);
                let bytes: Vec<Byte> = data.iter().map(|datum| datum.byte).collect();
                self.general[RBP].copy_from_slice(&bytes);
            }
            // Larger alignment, and room for variables.
            "and" | "sub" | "add" | "mov" | "lea"
                if code.instruction.op_kind(0) == OpKind::Register
                    && code.instruction.op_register(0) == Register::RSP =>
            {
                if code.instruction.rflags_modified() != 0 {
                    self.flags = Flags::Address;
                }
            }
            _ => return false,
        }
        true
    }

    pub(super) fn operand_of_push(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        if code.instruction.op_kind(0) == OpKind::Register {
            return self.operand(code, 0, before);
        }
        let read = code.memory.iter().find(|access| !access.writes).expect("it pushes what it reads");
        let address = read.address(before);
        let place = if self.memory.modules.find(address).is_some() { Memory::STATIC } else { Memory::STACK };
        self.memory.read(place, address, read.len)
    }

    /// Whether this clears vector registers or their upper halves, whatever they hold.
    pub(super) fn clears_vectors(&mut self, code: &Code) -> bool {
        let kept = match code.name.as_str() {
            "zeroupper" => VECTOR / 2,
            "zeroall" => 0,
            _ => return false,
        };
        self.vectors.iter_mut().for_each(|vector| vector[kept..].fill(Byte::KNOWN));
        true
    }

    /// Whether a general register holds what depends on data.
    pub(in crate::certificate) fn is_of_data(&self, register: usize) -> bool {
        self.general[register].iter().any(|&byte| byte.is_data() || byte == Byte::UNDEFINED)
    }

    pub(in crate::certificate) fn lowest_byte(&self, register: usize) -> Byte {
        self.general[register][0]
    }

    /// What a function does not preserve (System V ABI, AMD64 supplement, section 3.2.1).
    pub(in crate::certificate) fn forget_registers(&mut self) {
        const LOST: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
        LOST.into_iter().for_each(|register| self.general[register] = [Byte::UNDEFINED; WORD]);
        self.vectors = [[Byte::UNDEFINED; VECTOR]; 16];
        self.flags = Flags::Undefined;
    }

    pub(in crate::certificate) fn return_word(&mut self, word: u64) {
        self.general[0] = self.word(word);
    }

    pub(in crate::certificate) fn return_number(&mut self) {
        self.general[0] = [Byte::KNOWN; WORD];
    }
}

const RBP: usize = 5;
