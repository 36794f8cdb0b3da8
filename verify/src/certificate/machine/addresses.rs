//! Addresses: sums of places, and tables that codes look up.

use super::super::semantics::{looked_up, shifted_left};
use super::super::value::number as number_of;
use super::operands::number;
use super::*;

impl Machine {
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

    pub(super) fn sum_of(&self, data: &[Datum]) -> Option<Sum> {
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

    pub(super) fn is_of_equal_addresses(&self, code: &Code, before: &Registers) -> bool {
        let [a, b] =
            [self.operand(code, 0, before), self.second(code, before)].map(|data| self.sum_of(&data));
        a == b && a.is_some_and(|a| self.values.addresses.place(a).is_some())
    }

    /// What an addition of addresses gave in the call that was traced; it counts where it goes to memory.
    pub(super) fn sum_in_numbers(&self, code: &Code, before: &Registers) -> u64 {
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

    pub(super) fn sum_of_two(&mut self, code: &Code, before: &Registers) -> Option<Sum> {
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

    pub(super) fn sum_of_lea(&mut self, code: &Code) -> Option<Sum> {
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
    pub(super) fn lea_of_codes(&mut self, code: &Code, before: &Registers) -> bool {
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
}
