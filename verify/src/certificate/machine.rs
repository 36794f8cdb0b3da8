//! A call, executed once more on what bytes hold for every input.
//!
//! The registers of the call that was traced say where it went and what does not depend on data. Whatever does is followed byte by byte, and
//! the first instruction whose path, address or effect is not one that a right kernel needs ends the execution.

mod addresses;
mod calls;
mod flags;
mod library;
mod operands;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use iced_x86::{ConditionCode, FlowControl, OpKind, Register};

use super::address::{Addresses, Sum};
use super::code::{Access, Code};
use super::library::{Function, Running, functions};
use super::memory::{Memory, Place};
use super::recorder::{RSP, Registers};
use super::refusal::{Refusal, Shown};
use super::semantics::{Effect, Operands, apply};
use super::value::{Byte, Content, Datum, Values};

/// Bytes of a general register.
const WORD: usize = 8;

/// Bytes of a vector register.
const VECTOR: usize = 32;

/// What flags were made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    Known,
    /// Of an address alone: whether it is zero is known, since no buffer is there.
    IsNull,
    /// Of a distance: whether it is below the number that it was compared with is known.
    NotBelow,
    /// Of the difference of two addresses.
    Order(Difference),
    Address,
    Data,
    Undefined,
}

/// The difference of addresses within two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    a: Sum,
    b: Sum,
    /// `a` less `b` in the call that was traced.
    value: u64,
    /// How far they are apart at least, wherever the places lie.
    least: u64,
}

/// The state of a call between two instructions.
pub(super) struct Machine {
    pub(super) values: Values,
    pub(super) memory: Memory,
    general: [[Byte; WORD]; 16],
    vectors: [[Byte; VECTOR]; 16],
    flags: Flags,
    /// Whether the present instruction has had its effect.
    is_done: bool,
    /// What the memory of the present instruction holds, where its address is made of codes.
    looked_up: Option<Vec<Datum>>,
    codes: HashMap<u64, Rc<Code>>,
    /// Where instructions of the kernel are.
    executed: BTreeSet<u64>,
    functions: HashMap<u64, Function>,
    /// The function of the C library that is running, and where it returns to.
    running: Option<Running>,
    /// The number that stands for the canary of the stack, which is another in each process.
    canary: u32,
    /// Whether thread-local variables of the program are those of the harness: where the kernel is in a library.
    allows_thread_locals: bool,
    /// Instructions by what they did to data.
    pub(super) effects: BTreeMap<Effect, u64>,
    /// Instructions, and accesses to memory.
    pub(super) steps: u64,
    pub(super) accesses: u64,
    /// Instructions that read a constant whose address is made of codes.
    pub(super) lookups: u64,
    /// Functions of the C library that were called, with how often.
    pub(super) called: BTreeMap<&'static str, u64>,
}

impl Machine {
    /// A call that begins with these registers.
    pub(super) fn new(entry: &Registers, allows_thread_locals: bool) -> Self {
        let mut machine = Self {
            values: Values::new(),
            memory: Memory::new(entry.stack()),
            general: [[Byte::UNDEFINED; WORD]; 16],
            vectors: [[Byte::UNDEFINED; VECTOR]; 16],
            flags: Flags::Undefined,
            is_done: false,
            looked_up: None,
            codes: HashMap::new(),
            executed: BTreeSet::new(),
            functions: functions(),
            running: None,
            canary: 0,
            allows_thread_locals,
            effects: BTreeMap::new(),
            steps: 0,
            accesses: 0,
            lookups: 0,
            called: BTreeMap::new(),
        };
        machine.memory.constants = Some(machine.values.addresses.within(Memory::STATIC));
        machine.canary =
            machine.memory.add(Place { name: "the canary".to_owned(), range: 0..0, is_writable: false });
        let stack = machine.address_of(Memory::STACK);
        machine.general[RSP] = stack;
        let back = machine.address_of(Memory::STATIC).map(Datum::of);
        machine.memory.write(entry.stack(), &back);
        machine
    }

    /// Makes the registers hold what a call is given: addresses of places. The others hold nothing that a kernel may use.
    pub(super) fn give_arguments(&mut self, entry: &Registers) {
        /// rdi, rsi, rdx: the kernel, its functions, and the arguments.
        const GIVEN: [usize; 3] = [7, 6, 2];
        for register in GIVEN {
            self.general[register] = self.word(entry.general[register]);
        }
    }

    /// A word that a call is given: an address of a place, or a number.
    pub(super) fn word(&mut self, word: u64) -> [Byte; WORD] {
        match self.memory.place_of(word) {
            Some(place) => self.address_of(place),
            None => [Byte::KNOWN; WORD],
        }
    }

    fn address_of(&mut self, place: u32) -> [Byte; WORD] {
        let sum = self.values.addresses.within(place);
        std::array::from_fn(|at| Byte::address(sum, at as u8))
    }

    /// Every instruction that was executed: where, and its bytes.
    pub(super) fn code(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.executed.iter().map(|address| (*address, &self.codes[address].bytes[..]))
    }

    /// Executes an instruction.
    pub(super) fn step(&mut self, before: &Registers) -> Result<(), Refusal> {
        if self.is_in_library(before)? {
            return Ok(());
        }
        self.steps += 1;
        let code = self.decoded(before.rip);
        self.executed.insert(before.rip);
        self.execute(&code, before).map_err(|(shown, what)| Refusal {
            shown,
            what,
            at: Some(format!("{}: {}", self.memory.modules.name(before.rip), code.text())),
        })
    }

    /// The instruction at an address.
    pub(super) fn decoded(&mut self, address: u64) -> Rc<Code> {
        Rc::clone(self.codes.entry(address).or_insert_with(|| Rc::new(Code::at(address))))
    }

    /// Takes the step as part of a function of the C library, if it is.
    fn is_in_library(&mut self, before: &Registers) -> Result<bool, Refusal> {
        if let Some(mut running) = self.running.take() {
            if before.stack() <= running.stack {
                if running.function == Function::AllocateAlignedTo {
                    self.watch(&mut running, before);
                }
                self.running = Some(running);
                return Ok(true);
            }
            self.finish(&running, before).map_err(|what| refused_call(running.function, what))?;
            return Ok(false);
        }
        if !self.memory.modules.is_system(before.rip) {
            return Ok(false);
        }
        let Some(&function) = self.functions.get(&before.rip) else {
            return Err(Refusal {
                shown: Shown::Instructions,
                what: "calls a function of the C library that is not known here".to_owned(),
                at: Some(self.memory.modules.name(before.rip)),
            });
        };
        *self.called.entry(function.name()).or_default() += 1;
        let running = Running {
            function,
            stack: before.stack(),
            arguments: [7, 6, 2].map(|register| before.general[register]),
            written: None,
        };
        self.begin(&running).map_err(|what| refused_call(function, what))?;
        self.running = Some(running);
        Ok(true)
    }

    fn execute(&mut self, code: &Code, before: &Registers) -> Result<(), Fault> {
        if let Some(why) = code.why_not() {
            return Err((Shown::Instructions, why.to_owned()));
        }
        self.looked_up = None;
        let mut places = Vec::with_capacity(code.memory.len());
        for access in &code.memory {
            self.accesses += 1;
            places.push(self.reach(access, before)?);
        }
        self.look_at_flags(code, before)?;
        match code.instruction.flow_control() {
            FlowControl::Next => {}
            _ => return self.jump(code, before),
        }
        self.work(code, before, &places)
    }

    /// The place of an access; what is wrong with it, if anything is.
    fn reach(&mut self, access: &Access, before: &Registers) -> Result<u32, Fault> {
        let fault = |what: String| Err((Shown::Addresses, what));
        let address = access.address(before);
        if access.is_of_thread {
            return self.reach_thread(access, before, address);
        }
        if access.len == 0 {
            return fault("touches memory whose size is not known here".to_owned());
        }
        let mut sum = Addresses::NONE;
        for (register, times) in access.base.map(|base| (base, 1)).into_iter().chain(access.index) {
            let Some(part) = self.sum(&self.general[register]) else {
                return self.reach_by_codes(access, before);
            };
            sum = self.values.addresses.add(sum, part, times as i64);
        }
        let place = match self.values.addresses.place(sum) {
            Some(place) => place,
            None if sum == Addresses::NONE => Memory::STATIC,
            None => return fault("works out an address from those of several buffers".to_owned()),
        };
        match self.memory.fault(place, address, access.len, access.writes) {
            Some(what) => fault(what),
            None => Ok(place),
        }
    }

    /// What belongs to the thread: the canary of the stack, which compilers read, and what the harness keeps there.
    fn reach_thread(&mut self, access: &Access, before: &Registers, address: u64) -> Result<u32, Fault> {
        const CANARY: u64 = 0x28;
        if address == CANARY && access.len == WORD && !access.writes {
            let word = self.address_of(self.canary);
            self.looked_up = Some(word.map(Datum::of).to_vec());
            return Ok(Memory::STATIC);
        }
        if self.allows_thread_locals && self.memory.modules.is_program(before.rip) {
            self.looked_up = Some(vec![Datum::ZERO; access.len]);
            return Ok(Memory::STATIC);
        }
        Err((Shown::Addresses, "uses a variable of the thread, which can change".to_owned()))
    }

    fn look_at_flags(&mut self, code: &Code, before: &Registers) -> Result<(), Fault> {
        /// The flag that says that a result is zero, as `iced` numbers flags.
        const ZERO: u32 = iced_x86::RflagsBits::ZF;
        let read = code.instruction.rflags_read() & !iced_x86::RflagsBits::DF;
        let flags = self.flags;
        let why = match flags {
            _ if read == 0 => return Ok(()),
            Flags::Known => return Ok(()),
            Flags::IsNull if read == ZERO => return Ok(()),
            Flags::NotBelow if read == iced_x86::RflagsBits::CF => return Ok(()),
            Flags::Order(difference) if self.takes_distance(code, difference, before) => return Ok(()),
            Flags::IsNull | Flags::NotBelow | Flags::Order(_) | Flags::Address => {
                "takes a way that depends on where buffers lie"
            }
            Flags::Data => "takes a way that depends on weights, scales or activations",
            Flags::Undefined => "takes a way that depends on what nobody has written",
        };
        Err((Shown::Obliviousness, why.to_owned()))
    }

    /// A jump, a call or a return: where it goes must not depend on data.
    fn jump(&mut self, code: &Code, before: &Registers) -> Result<(), Fault> {
        let instruction = &code.instruction;
        if matches!(instruction.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall) {
            let target = self.operand(code, 0, before);
            if target.iter().any(|datum| datum.byte.is_data() || datum.byte == Byte::UNDEFINED) {
                return Err((Shown::Obliviousness, "jumps to an address made of data".to_owned()));
            }
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                let back = self.address_of(Memory::STATIC).map(Datum::of);
                self.memory.write(before.stack() - WORD as u64, &back);
                Ok(())
            }
            FlowControl::Return
            | FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch => Ok(()),
            _ => Err((Shown::Instructions, "no kernel needs it".to_owned())),
        }
    }

    /// What an instruction does to registers and memory.
    fn work(&mut self, code: &Code, before: &Registers, places: &[u32]) -> Result<(), Fault> {
        if self.moves_on_stack(code, before) || self.clears_vectors(code) {
            return Ok(());
        }
        if code.instruction.rflags_modified() != 0 {
            self.flags = self.new_flags(code, before);
        }
        if std::mem::take(&mut self.is_done)
            || self.adds_addresses(code, before)
            || self.moves_if(code, before)
        {
            return Ok(());
        }
        if code.memory.iter().all(|access| !access.writes) && self.is_known(code, places, before) {
            code.writes.iter().for_each(|&register| self.write_known(register, code.is_vex));
            return Ok(());
        }
        self.apply(code, before)
    }

    fn apply(&mut self, code: &Code, before: &Registers) -> Result<(), Fault> {
        let operands = self.operands(code, before);
        let is_of_data =
            operands.sources.iter().flatten().chain(&operands.destination).any(|datum| datum.byte.is_data());
        let Some((effect, result)) =
            (code.instruction.op_count() > 0).then(|| apply(&mut self.values, &operands)).flatten()
        else {
            return self.fall_back(code, before);
        };
        if is_of_data && result.iter().any(|datum| datum.byte.is_data()) {
            *self.effects.entry(effect).or_default() += 1;
        }
        let result = match is_of_data {
            true => result,
            false => without_data(&operands, result),
        };
        self.write(code, &result, before);
        if code.name == "xchg" {
            self.write_operand(code, 1, &operands.destination, before);
        }
        Ok(())
    }

    /// An instruction that no rule describes: no data may go through it.
    fn fall_back(&mut self, code: &Code, before: &Registers) -> Result<(), Fault> {
        let sources = self.sources(code, before);
        if sources.iter().any(|datum| datum.byte.is_data()) {
            let what = "applies an instruction to weights, scales or activations that no right kernel needs";
            return Err((Shown::Instructions, what.to_owned()));
        }
        let is_undefined = sources.iter().any(|datum| datum.byte == Byte::UNDEFINED);
        let is_address = sources.iter().any(|datum| matches!(datum.byte.content(), Content::Address { .. }));
        for &register in &code.writes {
            self.write_known(register, code.is_vex);
            if is_undefined || is_address {
                self.taint(register, is_undefined);
            }
        }
        if code.memory.iter().any(|access| access.writes) {
            let len = code.memory.iter().find(|access| access.writes).map_or(0, |access| access.len);
            let datum = Datum::of(Byte::UNCLEAR);
            let access = code.memory.iter().find(|access| access.writes).expect("just seen");
            self.memory.write(access.address(before), &vec![datum; len]);
        }
        Ok(())
    }

    /// Whether an instruction works on nothing but what is known.
    fn is_known(&self, code: &Code, places: &[u32], before: &Registers) -> bool {
        let are_known = code.reads.iter().all(|&register| {
            self.register(register).is_none_or(|bytes| bytes.iter().all(|byte| byte.is_known()))
        });
        are_known
            && self.looked_up.is_none()
            && code.memory.iter().zip(places).all(|(access, &place)| {
                let data = self.memory.read(place, access.address(before), access.len);
                data.iter().all(|datum| datum.byte.is_known())
            })
    }
}

/// A result of no data: what no rule describes is then made of addresses, or of what nobody has written.
fn without_data(operands: &Operands<'_>, mut result: Vec<Datum>) -> Vec<Datum> {
    let sources = || operands.sources.iter().flatten().chain(&operands.destination);
    let is_undefined = sources().any(|datum| datum.byte == Byte::UNDEFINED);
    for (at, datum) in result.iter_mut().enumerate().filter(|(_, datum)| datum.byte == Byte::UNCLEAR) {
        datum.byte =
            if is_undefined { Byte::UNDEFINED } else { Byte::address(Addresses::OTHER, (at % WORD) as u8) };
    }
    result
}

/// What is wrong, and with which part of the certificate.
type Fault = (Shown, String);

fn refused_call(function: Function, what: String) -> Refusal {
    Refusal { shown: Shown::Addresses, what, at: Some(format!("{} of the C library", function.name())) }
}
