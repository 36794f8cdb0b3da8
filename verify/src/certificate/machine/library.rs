//! What functions of the C library do to memory and registers.

use super::super::library::{Function, Running};
use super::super::memory::Place;
use super::super::value::number;
use super::*;

impl Machine {
    /// Looks at what a function is given, and does what it does, where that is known before it returns.
    pub(super) fn begin(&mut self, running: &Running) -> Result<(), String> {
        let [a, b, c] = running.arguments;
        let counted = match running.function {
            Function::Copy | Function::Fill => [7, 6, 2],
            Function::AllocateAlignedTo => [6, 2, 2],
            Function::Free => return self.release(a),
            Function::Reallocate | Function::AllocateAligned | Function::AllocateZeros => [6, 6, 6],
            Function::Allocate => [7, 7, 7],
        };
        if counted.iter().any(|&register| self.is_of_data(register)) {
            return Err("works out a size or an address from data".to_owned());
        }
        match running.function {
            Function::Copy => {
                let data = self.piece(b, c, false)?;
                self.piece(a, c, true)?;
                self.memory.write(a, &data);
            }
            Function::Fill => {
                self.piece(a, c, true)?;
                let byte = self.lowest_byte(6);
                self.memory.write(a, &vec![Datum { byte, value: b as u8 }; c as usize]);
            }
            _ => {}
        }
        Ok(())
    }

    /// The bytes that an argument points to.
    fn piece(&mut self, address: u64, len: u64, writes: bool) -> Result<Vec<Datum>, String> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let place = self.memory.place_of(address).ok_or("copies what is in no buffer")?;
        match self.memory.fault(place, address, len as usize, writes) {
            Some(what) => Err(what),
            None => Ok(self.memory.read(place, address, len as usize)),
        }
    }

    fn release(&mut self, address: u64) -> Result<(), String> {
        let Some(place) = self.memory.place_of(address) else {
            return if address == 0 { Ok(()) } else { Err("frees what it has not allocated".to_owned()) };
        };
        let range = self.memory.place(place).range.clone();
        if !self.memory.place(place).name.starts_with(BLOCK) || range.start != address {
            return Err("frees what it has not allocated".to_owned());
        }
        self.memory.free(place);
        self.memory.forget(range);
        Ok(())
    }

    /// Takes up what a function has returned.
    pub(super) fn finish(&mut self, running: &Running, after: &Registers) -> Result<(), String> {
        let [a, b, c] = running.arguments;
        let returned = after.general[0];
        self.forget_registers();
        let (address, len) = match running.function {
            Function::Allocate => (returned, a),
            Function::AllocateZeros => (returned, a.saturating_mul(b)),
            Function::AllocateAligned | Function::Reallocate => (returned, b),
            Function::AllocateAlignedTo => (running.written.ok_or("leaves no address of a block")?, c),
            Function::Copy | Function::Fill => {
                self.return_word(a);
                return Ok(());
            }
            Function::Free => return Ok(()),
        };
        self.add_block(running, address, len)
    }

    /// Whether the call keeps a block of memory that it has allocated.
    pub(in crate::certificate) fn keeps_memory(&self) -> bool {
        self.memory.places().iter().any(|place| place.name.starts_with(BLOCK) && !place.range.is_empty())
    }

    fn add_block(&mut self, running: &Running, address: u64, len: u64) -> Result<(), String> {
        let [a, ..] = running.arguments;
        let old = match running.function {
            Function::Reallocate if a != 0 => {
                let place = self.memory.place_of(a).ok_or("reallocates what it has not allocated")?;
                let range = self.memory.place(place).range.clone();
                let kept = (range.end - range.start).min(len) as usize;
                let data = self.memory.read(place, a, kept);
                self.release(a)?;
                data
            }
            Function::AllocateZeros => vec![Datum::ZERO; len as usize],
            _ => Vec::new(),
        };
        let name = format!("{BLOCK} that it has allocated");
        self.memory.add(Place { name, range: address..address + len, is_writable: true });
        self.memory.write(address, &old);
        match running.function {
            Function::AllocateAlignedTo => {
                let word = self.word(address).map(Datum::of);
                self.memory.write(a, &word);
                self.return_number();
            }
            _ => self.return_word(address),
        }
        Ok(())
    }

    /// Notes what the function writes to where its caller wants the address of a block.
    pub(super) fn watch(&mut self, running: &mut Running, before: &Registers) {
        let [to, ..] = running.arguments;
        let code = self.decoded(before.rip);
        let is_there =
            code.memory.iter().any(|access| access.writes && access.len == 8 && access.address(before) == to);
        if is_there && code.instruction.op_count() == 2 {
            let data = self.operand(&code, 1, before);
            running.written = Some(number(&data));
        }
    }
}

/// What blocks of the heap are called.
const BLOCK: &str = "a block of memory";
