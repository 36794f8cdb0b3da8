//! Flags, and what goes by them.

use std::cmp::Ordering;

use super::super::value::{are_known, number as number_of};
use super::*;

impl Machine {
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
    pub(super) fn order(&self, a: Option<Sum>, b: Option<Sum>, code: &Code, before: &Registers) -> Flags {
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
    pub(super) fn is_apart(&self, sum: Option<Sum>) -> bool {
        sum.and_then(|sum| self.values.addresses.least(sum)).is_some_and(|least| least > 0)
    }

    /// Whether an instruction gives an address of a place or near to it, which is not zero: no place is at the start of memory.
    pub(super) fn is_near(&self, sum: Option<Sum>, code: &Code, before: &Registers) -> bool {
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
    pub(super) fn reach_of(&self, distance: Sum, code: &Code, before: &Registers) -> Option<Flags> {
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
