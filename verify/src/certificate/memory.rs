//! The memory of a call: the places that it may touch, to the byte, and what they hold.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::address::Sum;
use super::modules::Modules;
use super::value::{Byte, Datum};

/// Bytes that are kept together.
const PAGE: u64 = 256;

/// Bytes below the entry of a call that are its stack.
const STACK_BYTES: u64 = 1 << 20;

/// A piece of memory that a call may touch.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) range: Range<u64>,
    pub(super) is_writable: bool,
}

/// Places and their bytes.
#[derive(Debug)]
pub(super) struct Memory {
    /// By their numbers.
    places: Vec<Place>,
    pages: HashMap<u64, Box<[Option<Datum>; PAGE as usize]>>,
    pub(super) modules: Modules,
    /// What the loader has filled in, once: where functions of other libraries are.
    slots: HashSet<u64>,
    /// The sum that an address within the constants is.
    pub(super) constants: Option<Sum>,
}

impl Memory {
    pub(super) const STACK: u32 = 0;

    /// The constants of the program and of its libraries.
    pub(super) const STATIC: u32 = 1;

    /// The memory of a call that begins with this stack pointer.
    pub(super) fn new(stack: u64) -> Self {
        // The return address is there.
        let range = stack - STACK_BYTES..stack + size_of::<u64>() as u64;
        let stack = Place { name: "the stack".to_owned(), range, is_writable: true };
        let constants = Place { name: "static data".to_owned(), range: 0..0, is_writable: false };
        let modules = Modules::now();
        let slots = modules.slots();
        Self { places: vec![stack, constants], pages: HashMap::new(), modules, slots, constants: None }
    }

    /// Adds a place; its number.
    pub(super) fn add(&mut self, place: Place) -> u32 {
        self.places.push(place);
        (self.places.len() - 1) as u32
    }

    /// Takes a block of the heap away.
    pub(super) fn free(&mut self, place: u32) {
        let place = &mut self.places[place as usize];
        place.range = place.range.start..place.range.start;
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn place(&self, number: u32) -> &Place {
        &self.places[number as usize]
    }

    /// The place that an address is in, by its value: only for what a call is given.
    pub(super) fn place_of(&self, address: u64) -> Option<u32> {
        let of = |place: &Place| place.range.contains(&address);
        if self.modules.find(address).is_some() {
            return Some(Self::STATIC);
        }
        (0..self.places.len() as u32).find(|&number| of(self.place(number)))
    }

    /// What is wrong with an access to a place, if anything is.
    pub(super) fn fault(&self, place: u32, address: u64, len: usize, writes: bool) -> Option<String> {
        let deed = if writes { "writes" } else { "reads" };
        let end = address.wrapping_add(len as u64);
        if place == Self::STATIC {
            return self.fault_of_static(address, len, writes);
        }
        let Place { name, range, is_writable } = self.place(place);
        let at = address.wrapping_sub(range.start) as i64;
        let size = range.end - range.start;
        if !(range.start <= address && address <= end && end <= range.end) {
            return Some(format!("{deed} {len} bytes from byte {at} of {name} on, which has {size} bytes"));
        }
        (writes && !is_writable).then(|| format!("writes {len} bytes to {name}, from byte {at} on"))
    }

    fn fault_of_static(&self, address: u64, len: usize, writes: bool) -> Option<String> {
        let deed = if writes { "writes" } else { "reads" };
        let Some(module) = self.modules.find(address) else {
            return Some(format!("{deed} {len} bytes at {address:#x}, which is nowhere in a buffer"));
        };
        let is_constant = !module.is_writable && !writes && address + len as u64 <= module.range.end;
        let is_slot = self.slots.contains(&address) && len == size_of::<u64>() && !writes;
        (!is_constant && !is_slot).then(|| {
            let place = self.modules.name(address);
            format!("{deed} {len} bytes of static data that can change, at {place}")
        })
    }

    /// The bytes at an address, in a place that has them.
    pub(super) fn read(&self, place: u32, address: u64, len: usize) -> Vec<Datum> {
        (address..address + len as u64).map(|address| self.byte(place, address)).collect()
    }

    fn byte(&self, place: u32, address: u64) -> Datum {
        let written = self.pages.get(&(address / PAGE)).and_then(|page| page[(address % PAGE) as usize]);
        written.unwrap_or_else(|| {
            if place != Self::STATIC {
                return Datum::of(Byte::UNDEFINED);
            }
            self.constant(address)
        })
    }

    /// A byte of a constant. Addresses among them are no constants: files lie elsewhere in each process.
    fn constant(&self, address: u64) -> Datum {
        const WORD: u64 = size_of::<u64>() as u64;
        let word = std::ptr::with_exposed_provenance::<u64>((address & !(WORD - 1)) as usize);
        // SAFETY: the word belongs to a page of a module that is loaded, and can be read.
        let word = unsafe { word.read() };
        let at = (address % WORD) as u8;
        let value = word.to_le_bytes()[usize::from(at)];
        match self.constants.filter(|_| self.modules.find(word).is_some()) {
            Some(sum) => Datum { byte: Byte::address(sum, at), value },
            None => Datum { byte: Byte::KNOWN, value },
        }
    }

    pub(super) fn write(&mut self, address: u64, data: &[Datum]) {
        for (address, datum) in (address..).zip(data) {
            let page = self.pages.entry(address / PAGE).or_insert_with(|| Box::new([None; PAGE as usize]));
            page[(address % PAGE) as usize] = Some(*datum);
        }
    }

    /// Forgets what is at an address.
    pub(super) fn forget(&mut self, range: Range<u64>) {
        for address in range {
            if let Some(page) = self.pages.get_mut(&(address / PAGE)) {
                page[(address % PAGE) as usize] = None;
            }
        }
    }
}
