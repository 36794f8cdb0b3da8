//! Operands, addresses and flags.

use super::super::semantics::{looked_up, shifted_left};
use super::super::value::{are_known, number as number_of};
use std::cmp::Ordering;

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

    fn register_data(&self, register: Register, before: &Registers) -> Option<Vec<Datum>> {
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
    fn memory_data(&self, code: &Code, before: &Registers) -> Vec<Datum> {
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
    fn set(&mut self, register: Register, bytes: &[Byte], clears: bool) {
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

    /// The sum of addresses that a general register holds: none of a number; `None` of data.
    pub(super) fn sum(&self, bytes: &[Byte]) -> Option<Sum> {
        if bytes.iter().all(|byte| byte.is_known()) {
            return Some(Addresses::NONE);
        }
        let Content::Address { sum, .. } = bytes[0].content() else {
            let has_data = bytes.iter().any(|byte| byte.is_data() || *byte == Byte::UNDEFINED);
            return (!has_data).then_some(Addresses::OTHER);
        };
        let is_whole = bytes.len() == WORD
            && bytes.iter().enumerate().all(|(at, &byte)| byte == Byte::address(sum, at as u8));
        let has_data = bytes.iter().any(|byte| byte.is_data() || *byte == Byte::UNDEFINED);
        (!has_data).then_some(if is_whole { sum } else { Addresses::OTHER })
    }

    fn sum_of(&self, data: &[Datum]) -> Option<Sum> {
        self.sum(&data.iter().map(|datum| datum.byte).collect::<Vec<_>>())
    }

    /// Reads one of the entries of a table, of which codes say which.
    pub(super) fn reach_by_codes(&mut self, access: &Access, before: &Registers) -> Result<u32, Fault> {
        let fault = |what: &str| Err((Shown::Obliviousness, what.to_owned()));
        let registers = || access.base.map(|base| (base, 1)).into_iter().chain(access.index);
        let (of_data, others): (Vec<_>, Vec<_>) =
            registers().partition(|&(register, _)| self.sum(&self.general[register]).is_none());
        let [(register, times)] = of_data[..] else {
            return fault("reads or writes at an address made of two values of data");
        };
        let data: Vec<Datum> = self.general[register]
            .iter()
            .zip(before.general[register].to_le_bytes())
            .map(|(&byte, value)| Datum { byte, value })
            .collect();
        let Some((variables, numbers)) = self.values.entries(&data).filter(|_| !access.writes) else {
            return fault("reads or writes at an address made of scales, activations or several codes");
        };
        let table = others.first().and_then(|&(register, _)| self.sum(&self.general[register]));
        let place = table.and_then(|table| self.values.addresses.place(table)).unwrap_or(Memory::STATIC);
        let rest = access.address(before).wrapping_sub(before.general[register].wrapping_mul(times));
        let mut entries = Vec::with_capacity(numbers.len());
        for number in numbers {
            let address = rest.wrapping_add(number.wrapping_mul(times));
            if let Some(what) = self.memory.fault(place, address, access.len, false) {
                return Err((Shown::Addresses, what));
            }
            entries.push(self.memory.read(place, address, access.len));
        }
        self.lookups += 1;
        *self.effects.entry(Effect::Choice).or_default() += 1;
        self.looked_up = Some(looked_up(&mut self.values, &variables, &entries));
        Ok(place)
    }

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

    fn operand_of_push(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        if code.instruction.op_kind(0) == OpKind::Register {
            return self.operand(code, 0, before);
        }
        let read = code.memory.iter().find(|access| !access.writes).expect("it pushes what it reads");
        let address = read.address(before);
        let place = if self.memory.modules.find(address).is_some() { Memory::STATIC } else { Memory::STACK };
        self.memory.read(place, address, read.len)
    }

    /// What the flags are made of behind an instruction.
    pub(super) fn new_flags(&self, code: &Code, before: &Registers) -> Flags {
        let sources = self.sources(code, before);
        let operands = || [self.operand(code, 0, before), self.second(code, before)];
        if sources.iter().all(|datum| datum.byte.is_known()) {
            return Flags::Known;
        }
        if is_zeroing(code) {
            return Flags::Known;
        }
        if sources.iter().any(|datum| datum.byte == Byte::UNDEFINED) {
            return Flags::Undefined;
        }
        if sources.iter().any(|datum| datum.byte.is_data()) {
            return Flags::Data;
        }
        let [a, b] = operands();
        let (a, b) = (self.sum_of(&a), self.sum_of(&b));
        match code.name.as_str() {
            "cmp" | "sub" if a == b && a != Some(Addresses::OTHER) => Flags::Known,
            "xor" if self.is_of_equal_addresses(code, before) => Flags::Known,
            "cmp" if a.is_some_and(|a| self.reach_of(a, code, before).is_some()) => {
                a.and_then(|a| self.reach_of(a, code, before)).expect("just seen")
            }
            "test" if a == b && (self.is_near(a, code, before) || self.is_apart(a)) => Flags::IsNull,
            "cmp" if is_compared_with_zero(code) && self.is_near(a, code, before) => Flags::IsNull,
            "cmp" | "sub" => self.order(a, b, code, before),
            "add" if b == Some(Addresses::NONE) && self.is_near(a, code, before) => Flags::IsNull,
            _ => Flags::Address,
        }
    }

    /// The flags of a difference: whether it is zero, if it is an address less a number; and which of two addresses comes first.
    fn order(&self, a: Option<Sum>, b: Option<Sum>, code: &Code, before: &Registers) -> Flags {
        let (Some(a), Some(b)) = (a, b) else { return Flags::Address };
        let place = |sum| self.values.addresses.place(sum).map(|place| &self.memory.place(place).range);
        let [x, y] = [0, 1].map(|operand| number_of(&self.operand(code, operand, before)));
        match (place(a), place(b)) {
            (Some(of_a), Some(of_b))
                if (of_a.start..=of_a.end).contains(&x) && (of_b.start..=of_b.end).contains(&y) =>
            {
                // The places do not overlap.
                let least = (of_a.end - x).min(of_b.end - y);
                Flags::Order(Difference { a, b, value: x.wrapping_sub(y), least })
            }
            (Some(_), None)
                if b == Addresses::NONE && code.name == "sub" && self.is_near(Some(a), code, before) =>
            {
                Flags::IsNull
            }
            _ => Flags::Address,
        }
    }

    /// Whether it is a distance of two addresses that cannot be the same.
    fn is_apart(&self, sum: Option<Sum>) -> bool {
        sum.and_then(|sum| self.values.addresses.least(sum)).is_some_and(|least| least > 0)
    }

    /// Whether an instruction gives an address of a place or near to it, which is not zero: no place is at the start of memory.
    fn is_near(&self, sum: Option<Sum>, code: &Code, before: &Registers) -> bool {
        /// Systems keep as many bytes at the start of memory free.
        const NEAR: u64 = 1 << 15;
        let Some(place) = sum.and_then(|sum| self.values.addresses.place(sum)) else { return false };
        let data = match code.instruction.op_kind(1) {
            OpKind::Register | OpKind::Memory => self.second(code, before),
            _ => Vec::new(),
        };
        let number = if data.is_empty() { code.instruction.immediate(1) } else { number_of(&data) };
        let address = number_of(&self.operand(code, 0, before));
        let result = match code.name.as_str() {
            "add" => address.wrapping_add(number),
            "sub" => address.wrapping_sub(number),
            _ => address,
        };
        let range = &self.memory.place(place).range;
        place == Memory::STATIC || (range.start.saturating_sub(NEAR)..=range.end + NEAR).contains(&result)
    }

    /// The flags of a distance less a number: wherever the places lie, it is not below that, or above it.
    fn reach_of(&self, distance: Sum, code: &Code, before: &Registers) -> Option<Flags> {
        let data = self.second(code, before);
        let limit = match code.instruction.op_kind(1) {
            OpKind::Register | OpKind::Memory => are_known(&data).then(|| number_of(&data)),
            _ => Some(code.instruction.immediate(1)),
        };
        match self.values.addresses.least(distance)?.cmp(&limit?) {
            Ordering::Greater => Some(Flags::Known),
            Ordering::Equal => Some(Flags::NotBelow),
            Ordering::Less => None,
        }
    }

    /// Whether this picks, by the order of two addresses, the positive one of their two differences. It then has done so.
    pub(super) fn takes_distance(&mut self, code: &Code, of: Difference, before: &Registers) -> bool {
        let instruction = &code.instruction;
        let is_move = code.name.starts_with("cmov")
            && instruction.op_kind(1) == OpKind::Register
            && instruction.op_register(0).size() == WORD;
        if !is_move {
            return false;
        }
        let Difference { a, b, value, least } = of;
        let [to, from] = [0, 1].map(|operand| {
            let data = self.operand(code, operand, before);
            (self.sum_of(&data), number_of(&data))
        });
        let addresses = &mut self.values.addresses;
        let down = (Some(addresses.add(a, b, -1)), value);
        let up = (Some(addresses.add(b, a, -1)), value.wrapping_neg());
        let is_positive = match instruction.condition_code() {
            ConditionCode::b | ConditionCode::be => (to, from) == (down, up),
            ConditionCode::a | ConditionCode::ae => (to, from) == (up, down),
            _ => false,
        };
        if is_positive {
            let distance = addresses.distance(a, b, least);
            let bytes: [Byte; WORD] = std::array::from_fn(|at| Byte::address(distance, at as u8));
            self.set(instruction.op_register(0), &bytes, false);
            self.is_done = true;
        }
        is_positive
    }

    /// The second operand, as wide as the first.
    fn second(&self, code: &Code, before: &Registers) -> Vec<Datum> {
        if code.instruction.op_count() < 2 {
            return Vec::new();
        }
        self.operand(code, 1, before)
    }

    /// Sums and differences of addresses, and numbers as compilers work them out by `lea`.
    pub(super) fn adds_addresses(&mut self, code: &Code, before: &Registers) -> bool {
        let of = match code.name.as_str() {
            "lea" => self.sum_of_lea(code),
            "add" | "sub" | "inc" | "dec" | "neg" => self.sum_of_two(code, before),
            // How some compilers compare the canary.
            "xor" if self.is_of_equal_addresses(code, before) => Some(Addresses::NONE),
            _ => return false,
        };
        let Some(of) = of else { return code.name == "lea" && self.lea_of_codes(code, before) };
        if of == Addresses::NONE
            && code.name != "lea"
            && self.sources(code, before).iter().all(|datum| datum.byte.is_known())
        {
            return false;
        }
        let old = self.operand(code, 0, before);
        let of = if old.len() == WORD || of == Addresses::NONE { of } else { Addresses::OTHER };
        let byte = |at: usize| match of {
            Addresses::NONE => Byte::KNOWN,
            of => Byte::address(of, at as u8),
        };
        let value = self.sum_in_numbers(code, before).to_le_bytes();
        let data: Vec<Datum> = (0..old.len()).map(|at| Datum { byte: byte(at), value: value[at] }).collect();
        self.write(code, &data, before);
        true
    }

    fn is_of_equal_addresses(&self, code: &Code, before: &Registers) -> bool {
        let [a, b] =
            [self.operand(code, 0, before), self.second(code, before)].map(|data| self.sum_of(&data));
        a == b && a.is_some_and(|a| self.values.addresses.place(a).is_some())
    }

    /// What an addition of addresses gave in the call that was traced; it counts where it goes to memory.
    fn sum_in_numbers(&self, code: &Code, before: &Registers) -> u64 {
        let a = number_of(&self.operand(code, 0, before));
        let b = match self.second(code, before) {
            data if data.is_empty() && code.instruction.op_count() > 1 && code.name != "lea" => {
                code.instruction.immediate(1)
            }
            data => number_of(&data),
        };
        match code.name.as_str() {
            "add" => a.wrapping_add(b),
            "sub" => a.wrapping_sub(b),
            "xor" => 0,
            "inc" => a.wrapping_add(1),
            "dec" => a.wrapping_sub(1),
            _ => a.wrapping_neg(),
        }
    }

    fn sum_of_two(&mut self, code: &Code, before: &Registers) -> Option<Sum> {
        let a = self.sum_of(&self.operand(code, 0, before))?;
        let b = match self.second(code, before) {
            data if data.is_empty() => Addresses::NONE,
            data => self.sum_of(&data)?,
        };
        let addresses = &mut self.values.addresses;
        Some(match code.name.as_str() {
            "neg" => addresses.add(Addresses::NONE, a, -1),
            "sub" => addresses.add(a, b, -1),
            _ => addresses.add(a, b, 1),
        })
    }

    fn sum_of_lea(&mut self, code: &Code) -> Option<Sum> {
        let instruction = &code.instruction;
        let [base, index] = [instruction.memory_base(), instruction.memory_index()];
        if base == Register::RIP {
            return Some(self.values.addresses.within(Memory::STATIC));
        }
        let part = |machine: &Self, register: Register| match register {
            Register::None => Some(Addresses::NONE),
            _ => machine.sum(&machine.general[number(register)]),
        };
        let (a, b) = (part(self, base)?, part(self, index)?);
        Some(self.values.addresses.add(a, b, i64::from(instruction.memory_index_scale())))
    }

    /// An integer that `lea` makes of codes.
    fn lea_of_codes(&mut self, code: &Code, before: &Registers) -> bool {
        let instruction = &code.instruction;
        let registers = [instruction.memory_base(), instruction.memory_index()];
        let [base, index] =
            registers.map(|register| self.register_data(register, before).unwrap_or_default());
        let index = shifted_left(&mut self.values, &index, instruction.memory_index_scale().ilog2() as usize);
        let (displacement, register) = (instruction.memory_displacement64(), instruction.op_register(0));
        let data = match base.is_empty() && displacement == 0 {
            true => index[..register.size()].to_vec(),
            false => self.values.compute(&[&base, &index], register.size(), |parts| {
                parts[0].wrapping_add(parts[1]).wrapping_add(displacement)
            }),
        };
        *self.effects.entry(Effect::Integer).or_default() += 1;
        self.write(code, &data, before);
        true
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

    /// A move on a condition, or the condition itself, which is known by now.
    pub(super) fn moves_if(&mut self, code: &Code, before: &Registers) -> bool {
        let condition = code.instruction.condition_code();
        if code.name.starts_with("set") && condition != ConditionCode::None {
            let value = u8::from(holds(condition, before.flags()));
            self.write(code, &[Datum { value, ..Datum::ZERO }], before);
            return true;
        }
        if !code.name.starts_with("cmov") {
            return false;
        }
        let source = if holds(condition, before.flags()) { 1 } else { 0 };
        let data = self.operand(code, source, before);
        self.write(code, &data, before);
        true
    }
}

const RBP: usize = 5;

/// Whether it is a vector register, by any of its names.
fn is_vector(register: Register) -> bool {
    register.is_xmm() || register.is_ymm() || register.is_zmm()
}

fn number(register: Register) -> usize {
    if register.is_gpr() { register.full_register().number() } else { register.number() }
}

/// 1 for the second byte of a register, which some instructions name.
fn high_byte(register: Register) -> usize {
    usize::from(matches!(register, Register::AH | Register::BH | Register::CH | Register::DH))
}

/// Whether an instruction gives zero, whatever its operands are.
fn is_zeroing(code: &Code) -> bool {
    let instruction = &code.instruction;
    matches!(code.name.as_str(), "xor" | "sub")
        && instruction.op_kind(0) == OpKind::Register
        && instruction.op_kind(1) == OpKind::Register
        && instruction.op_register(0) == instruction.op_register(1)
}

fn is_compared_with_zero(code: &Code) -> bool {
    let instruction = &code.instruction;
    !matches!(instruction.op_kind(1), OpKind::Register | OpKind::Memory) && instruction.immediate(1) == 0
}

/// Whether an instruction of this name takes a number as it takes a register.
fn is_integer(name: &str) -> bool {
    matches!(name, "mov" | "and" | "or" | "xor" | "add" | "sub")
}

/// Whether a condition holds, by the flags (volume 1 of the manual, appendix B).
fn holds(condition: ConditionCode, flags: u64) -> bool {
    let flag = |at: u32| flags >> at & 1 == 1;
    let (carry, parity, zero, sign, overflow) = (flag(0), flag(2), flag(6), flag(7), flag(11));
    match condition {
        ConditionCode::None => false,
        ConditionCode::o => overflow,
        ConditionCode::no => !overflow,
        ConditionCode::b => carry,
        ConditionCode::ae => !carry,
        ConditionCode::e => zero,
        ConditionCode::ne => !zero,
        ConditionCode::be => carry || zero,
        ConditionCode::a => !carry && !zero,
        ConditionCode::s => sign,
        ConditionCode::ns => !sign,
        ConditionCode::p => parity,
        ConditionCode::np => !parity,
        ConditionCode::l => sign != overflow,
        ConditionCode::ge => sign == overflow,
        ConditionCode::le => zero || sign != overflow,
        ConditionCode::g => !zero && sign == overflow,
    }
}
