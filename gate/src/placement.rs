//! Copies of a shared library that differ only in where their code lies.
//!
//! The same instructions may take a tenth longer at another address: a loop may cross one more line of the cache of decoded
//! instructions, for one. Where a linker puts a function is chance, so the gate must not judge by it. A copy has its
//! executable sections again, behind everything else, once for each kernel: there the function of the kernel lies where
//! it was asked to lie, and the table of kernels points there. Data stay where they are, and references to
//! them are adjusted, so that a copy computes what the original does. Calls of functions of the same library go to the copy, also those
//! through the global offset table. The original code stays too: what jumps into it by a pointer in memory goes on there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};
use object::elf::{
    EM_X86_64, FileHeader64, PF_R, PF_X, PT_LOAD, R_X86_64_64, R_X86_64_RELATIVE, Rela64, RelocationType,
};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, Relocation, RelocationTarget,
    SectionKind, SymbolKind,
};
use qk256_verify::plugin::{KERNEL_BYTES, RUN_AT};

type File<'data> = ElfFile64<'data, LittleEndian>;
type Header = object::elf::ProgramHeader64<LittleEndian>;
type Symbol = object::elf::Sym64<LittleEndian>;
type Rela = Rela64<LittleEndian>;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Bytes of a program header, of a dynamic symbol, and of a relocation.
const HEADER_BYTES: usize = size_of::<Header>();
const SYMBOL_BYTES: usize = size_of::<Symbol>();
const RELA_BYTES: usize = size_of::<Rela>();

/// Where the address of a dynamic symbol lies in it, and what the file header says of program headers.
const SYMBOL_VALUE: usize = std::mem::offset_of!(Symbol, st_value);
const HEADERS_OFFSET: usize = std::mem::offset_of!(FileHeader64<LittleEndian>, e_phoff);
const HEADERS_COUNT: usize = std::mem::offset_of!(FileHeader64<LittleEndian>, e_phnum);

/// A copy of `library`, the bytes of a shared library, in which the function of each kernel lies `offset` bytes into a page.
///
/// # Errors
/// Why there can be no such copy: it is no such library, or something in its code is not understood.
pub(super) fn copy_at(library: &[u8], offset: u64) -> Result<Vec<u8>, String> {
    let file = File::parse(library).map_err(|error| error.to_string())?;
    if file.elf_header().e_machine.get(LittleEndian) != EM_X86_64 {
        return Err("it is not for x86-64".to_owned());
    }
    let code = Code::of(&file)?;
    let entries = entries(&file, &code.range)?;
    let start =
        file.elf_program_headers().iter().map(end_in_memory).max().unwrap_or(0).next_multiple_of(PAGE);
    let mut added = Vec::new();
    let mut copy = library.to_vec();
    for (entry, places) in entries {
        let behind = start + added.len() as u64;
        // Where the first byte of the code must lie, so that the entry lies where it should.
        let wanted = (offset + PAGE - (entry - code.range.start) % PAGE) % PAGE;
        let place = behind + (wanted + PAGE - behind % PAGE) % PAGE;
        added.resize((place - start) as usize, 0);
        added.extend(code.moved_to(place)?);
        let address = place + (entry - code.range.start);
        places.into_iter().for_each(|at| copy[at..][..8].copy_from_slice(&address.to_le_bytes()));
    }
    append(&mut copy, file.elf_program_headers(), start, &added);
    Ok(copy)
}

/// The functions of the kernels, all of which must lie in `code`, each with the places of the file where its address stands: the
/// relocations of the table of kernels, which is found by its form, or the symbols that they name.
fn entries(file: &File<'_>, code: &Range<u64>) -> Result<BTreeMap<u64, BTreeSet<usize>>, String> {
    let table = |name: &str| Some(file.section_by_name(name)?.file_range()?.0 as usize);
    let (relocations, symbols) = (relocations(file), table(".dynsym"));
    let mut entries = BTreeMap::<u64, BTreeSet<usize>>::new();
    for (&slot, relocation) in &relocations {
        let is_run = slot.checked_sub(RUN_AT as u64).is_some_and(|kernel| {
            word(file, kernel) == Some(KERNEL_BYTES as u64) && relocations.contains_key(&(kernel + 8))
        });
        if !is_run {
            continue;
        }
        let (address, value_at) = match relocation.kind {
            R_X86_64_RELATIVE => (relocation.addend, relocation.addend_at),
            _ => {
                let at = symbols.ok_or("it has no section .dynsym")?
                    + relocation.symbol * SYMBOL_BYTES
                    + SYMBOL_VALUE;
                let value = file.data().get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
                (u64::from_le_bytes(value.ok_or("it ends within its symbols")?), at)
            }
        };
        if !code.contains(&address) {
            return Err(format!(
                "the function of the kernel at {:#x} is not in its code",
                slot - RUN_AT as u64
            ));
        }
        entries.entry(address).or_default().insert(value_at);
    }
    if entries.is_empty() { Err("it has no table of kernels in its data".to_owned()) } else { Ok(entries) }
}

/// What the loader writes to a place of 8 bytes.
struct Slot {
    kind: RelocationType,
    symbol: usize,
    addend: u64,
    /// Where in the file the addend stands.
    addend_at: usize,
}

/// Places that the loader fills with an address in the library or that of a symbol, by their address.
fn relocations(file: &File<'_>) -> BTreeMap<u64, Slot> {
    let Some((at, len)) = file.section_by_name(".rela.dyn").and_then(|section| section.file_range()) else {
        return BTreeMap::new();
    };
    let table = file.data().get(at as usize..(at + len) as usize).unwrap_or_default();
    let slot = |(number, bytes): (usize, &[u8])| {
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let (address, info, addend) = (word(0)?, word(8)?, word(16)?);
        let addend_at = at as usize + number * RELA_BYTES + 16;
        let (kind, symbol) = (RelocationType(info as u32), (info >> 32) as usize);
        let is_plain = kind == R_X86_64_RELATIVE || (kind == R_X86_64_64 && addend == 0);
        is_plain.then_some((address, Slot { kind, symbol, addend, addend_at }))
    };
    table.chunks_exact(RELA_BYTES).enumerate().filter_map(slot).collect()
}

/// The 8 bytes at an address, as the file has them.
fn word(file: &File<'_>, address: u64) -> Option<u64> {
    let holds = |header: &&Header| {
        let first = header.p_vaddr(LittleEndian);
        header.p_type(LittleEndian) == PT_LOAD
            && (first..first + header.p_filesz(LittleEndian)).contains(&address)
    };
    let segment = file.elf_program_headers().iter().find(holds)?;
    let at = (address - segment.p_vaddr(LittleEndian) + segment.p_offset(LittleEndian)) as usize;
    file.data().get(at..at + 8)?.try_into().map(u64::from_le_bytes).ok()
}

/// The executable sections of a library, and what lies between them.
struct Code<'data> {
    range: Range<u64>,
    bytes: &'data [u8],
    sections: Vec<Range<u64>>,
    /// Functions of the library that it calls through a slot of its global offset table, by the address of the slot.
    slots: BTreeMap<u64, u64>,
}

impl<'data> Code<'data> {
    fn of(file: &File<'data>) -> Result<Self, String> {
        let executable =
            file.sections().filter(|section| section.kind() == SectionKind::Text && section.size() > 0);
        let sections: Vec<Range<u64>> =
            executable.map(|section| section.address()..section.address() + section.size()).collect();
        let start = sections.iter().map(|section| section.start).min().ok_or("it has no section of code")?;
        let end = sections.iter().map(|section| section.end).max().unwrap_or(start);
        let range = start..end;
        if file.dynamic_relocations().into_iter().flatten().any(|(address, _)| range.contains(&address)) {
            return Err("its code has relocations".to_owned());
        }
        let holds = |header: &&Header| {
            let first = header.p_vaddr(LittleEndian);
            header.p_type(LittleEndian) == PT_LOAD
                && first <= start
                && end <= first + header.p_filesz(LittleEndian)
        };
        let segment =
            file.elf_program_headers().iter().find(holds).ok_or("its code is not in one segment")?;
        let at = (start - segment.p_vaddr(LittleEndian) + segment.p_offset(LittleEndian)) as usize;
        let bytes = file.data().get(at..at + (end - start) as usize).ok_or("it ends within its code")?;
        let slots = slots(file, &range);
        Ok(Self { range, bytes, sections, slots })
    }

    /// The bytes of the code at the address `place`, in the same library.
    fn moved_to(&self, place: u64) -> Result<Vec<u8>, String> {
        let shift = place - self.range.start;
        let mut bytes = self.bytes.to_vec();
        for section in &self.sections {
            let own = (section.start - self.range.start) as usize..(section.end - self.range.start) as usize;
            let mut decoder =
                Decoder::with_ip(64, &self.bytes[own.clone()], section.start, DecoderOptions::NONE);
            let mut instruction = Instruction::default();
            while decoder.can_decode() {
                let at = own.start + decoder.position();
                decoder.decode_out(&mut instruction);
                if instruction.is_invalid() {
                    return Err(format!("its code at {:#x} is not understood", instruction.ip()));
                }
                let Some(target) = target(&instruction)? else { continue };
                if self.range.contains(&target) {
                    continue;
                }
                if let Some(&function) = self.slots.get(&target)
                    && call_directly(&mut bytes[at..], &decoder, &instruction, function)
                {
                    continue;
                }
                let offsets = decoder.get_constant_offsets(&instruction);
                let (field, size) = match instruction.is_ip_rel_memory_operand() {
                    true => (offsets.displacement_offset(), offsets.displacement_size()),
                    false => (offsets.immediate_offset(), offsets.immediate_size()),
                };
                let field = bytes.get_mut(at + field..at + field + 4).filter(|_| size == 4);
                let field: &mut [u8; 4] = field
                    .and_then(|field| field.try_into().ok())
                    .ok_or_else(|| format!("a reference at {:#x} is too short to move", instruction.ip()))?;
                let distance = i64::from(i32::from_le_bytes(*field)) - shift as i64;
                let distance = i32::try_from(distance).map_err(|_| "it is larger than 2 GiB".to_owned())?;
                *field = distance.to_le_bytes();
            }
        }
        Ok(bytes)
    }
}

/// Slots that the loader fills with the address of a function in `code`. A symbol that is exported is called so, from its own library too.
fn slots(file: &File<'_>, code: &Range<u64>) -> BTreeMap<u64, u64> {
    let slot = |(address, relocation): (u64, Relocation)| {
        let RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let symbol = file.dynamic_symbol_table()?.symbol_by_index(index).ok()?;
        let is_own =
            symbol.is_definition() && symbol.kind() == SymbolKind::Text && code.contains(&symbol.address());
        (is_own && relocation.addend() == 0).then_some((address, symbol.address()))
    };
    file.dynamic_relocations().into_iter().flatten().filter_map(slot).collect()
}

/// Makes `call [slot]` and `jmp [slot]` at the start of `bytes` a call of, or a jump to, `function`, which moves with it: otherwise
/// the copy would go on in the original code. Whether the instruction is one of these two.
fn call_directly(bytes: &mut [u8], decoder: &Decoder<'_>, instruction: &Instruction, function: u64) -> bool {
    let Some(opcode) = decoder.get_constant_offsets(instruction).displacement_offset().checked_sub(2) else {
        return false;
    };
    // Six bytes each: a direct jump takes five, and a direct call may have a prefix that means nothing.
    let (before, behind): (&[u8], &[u8]) = match bytes[opcode..opcode + 2] {
        [0xff, 0x25] => (&[0xe9], &[0x90]),
        [0xff, 0x15] => (&[0x67, 0xe8], &[]),
        _ => return false,
    };
    let next = instruction.ip() + (opcode + before.len() + 4) as u64;
    let Ok(distance) = i32::try_from(function.wrapping_sub(next) as i64) else { return false };
    bytes[opcode..opcode + 6].copy_from_slice(&[before, &distance.to_le_bytes(), behind].concat());
    true
}

/// What an instruction refers to by its distance, if it does.
fn target(instruction: &Instruction) -> Result<Option<u64>, String> {
    let is_branch = (0..instruction.op_count()).any(|operand| {
        matches!(
            instruction.op_kind(operand),
            OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16
        )
    });
    match instruction.memory_base() {
        _ if is_branch => Ok(Some(instruction.near_branch_target())),
        Register::RIP => Ok(Some(instruction.ip_rel_memory_address())),
        Register::EIP => Err(format!("the address at {:#x} is not understood", instruction.ip())),
        _ => Ok(None),
    }
}

/// Appends `added` to a library as a segment of code at the address `start`, and program headers that have it.
fn append(library: &mut Vec<u8>, headers: &[Header], start: u64, added: &[u8]) {
    library.resize(library.len().next_multiple_of(8), 0);
    let headers_at = library.len();
    let old = u64::from_le_bytes(library[HEADERS_OFFSET..][..8].try_into().expect("eight bytes")) as usize;
    library.extend_from_within(old..old + headers.len() * HEADER_BYTES);
    let code_at = (headers_at + (headers.len() + 1) * HEADER_BYTES).next_multiple_of(PAGE as usize);
    let (kind, flags) = (PT_LOAD.0, PF_R.0 | PF_X.0);
    library.extend(kind.to_le_bytes());
    library.extend(flags.to_le_bytes());
    for field in [code_at as u64, start, start, added.len() as u64, added.len() as u64, PAGE] {
        library.extend(field.to_le_bytes());
    }
    library.resize(code_at, 0);
    library.extend_from_slice(added);
    library[HEADERS_OFFSET..][..8].copy_from_slice(&(headers_at as u64).to_le_bytes());
    library[HEADERS_COUNT..][..2].copy_from_slice(&(headers.len() as u16 + 1).to_le_bytes());
}

fn end_in_memory(header: &Header) -> u64 {
    match header.p_type(LittleEndian) {
        PT_LOAD => header.p_vaddr(LittleEndian) + header.p_memsz(LittleEndian),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::Mnemonic;

    use super::*;

    /// Code at the address 0x1000, and data at 0x3000.
    const ORIGINAL: u64 = 0x1000;

    #[rustfmt::skip]
    const CODE: [u8; 27] = [
        0x48, 0x8d, 0x05, 0xf9, 0x1f, 0x00, 0x00, // 0x1000: lea rax, [rip + 0x1ff9], which is 0x3000
        0xe8, 0x0f, 0x00, 0x00, 0x00,             // 0x1007: call 0x101b, which is the byte behind the code
        0x74, 0x05,                               // 0x100c: jz 0x1013, within
        0xe8, 0xed, 0xff, 0xff, 0xff,             // 0x100e: call 0x1000, within
        0xc5, 0xfd, 0x6f, 0x05, 0xe5, 0x1f, 0x00, 0x00, // 0x1013: vmovdqa ymm0, [rip + 0x1fe5], which is 0x3000
    ];

    fn moved(bytes: &[u8], place: u64) -> Result<Vec<u8>, String> {
        let range = ORIGINAL..ORIGINAL + bytes.len() as u64;
        // A slot at 0x3000 holds a function at 0x1000, and one at 0x3008 a function of another library.
        let slots = BTreeMap::from([(0x3000, ORIGINAL)]);
        Code { sections: vec![range.clone()], range, bytes, slots }.moved_to(place)
    }

    /// What the instructions of code at an address refer to.
    fn targets(bytes: &[u8], address: u64) -> Vec<u64> {
        let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        decoder
            .into_iter()
            .filter_map(|instruction| target(&instruction).expect("all are understood"))
            .collect()
    }

    #[test]
    fn moved_code_refers_to_the_same_data_and_to_itself() {
        assert_eq!(targets(&CODE, ORIGINAL), [0x3000, 0x101b, 0x1013, 0x1000, 0x3000]);
        for place in [0x5010, 0x5fff, 0x1_2340] {
            let shift = place - ORIGINAL;
            let copy = moved(&CODE, place).expect("all is understood");
            assert_eq!(
                targets(&copy, place),
                [0x3000, 0x101b, 0x1013 + shift, ORIGINAL + shift, 0x3000],
                "{place:#x}"
            );
        }
    }

    #[test]
    fn a_call_through_a_slot_of_an_own_function_becomes_a_call_of_the_copy() {
        #[rustfmt::skip]
        let code = [
            0xff, 0x15, 0xfa, 0x1f, 0x00, 0x00,       // 0x1000: call [rip + 0x1ffa], the slot at 0x3000
            0xf2, 0xff, 0x25, 0xf3, 0x1f, 0x00, 0x00, // 0x1006: bnd jmp [rip + 0x1ff3], the same
            0xff, 0x25, 0xf5, 0x1f, 0x00, 0x00,       // 0x100d: jmp [rip + 0x1ff5], the slot at 0x3008
        ];
        assert_eq!(targets(&code, ORIGINAL), [0x3000, 0x3000, 0x3008]);
        let copy = moved(&code, 0x5010).expect("all is understood");
        assert_eq!(targets(&copy, 0x5010), [0x5010, 0x5010, 0x3008]);
        let mnemonics: Vec<Mnemonic> = Decoder::with_ip(64, &copy, 0x5010, DecoderOptions::NONE)
            .into_iter()
            .map(|instruction| instruction.mnemonic())
            .collect();
        assert_eq!(mnemonics, [Mnemonic::Call, Mnemonic::Jmp, Mnemonic::Nop, Mnemonic::Jmp]);
    }

    #[test]
    fn code_that_cannot_be_moved_is_refused_with_its_address() {
        for (bytes, place, expected) in [
            // A jump of one byte to what stays.
            (&[0xeb, 0x20][..], 0x5000, "a reference at 0x1000 is too short to move"),
            // No instruction.
            (&[0x90, 0x06], 0x5000, "its code at 0x1001 is not understood"),
            // A 32-bit address.
            (&[0x67, 0x8d, 0x05, 0, 0, 0, 0], 0x5000, "the address at 0x1000 is not understood"),
            (&CODE, 0x1_0000_0000, "it is larger than 2 GiB"),
        ] {
            assert_eq!(moved(bytes, place).expect_err("it is refused"), expected);
        }
    }

    #[test]
    fn a_file_that_is_no_library_has_no_copy() {
        assert!(copy_at(b"not a library", 0).is_err());
        let program =
            std::fs::read(std::env::current_exe().expect("a test is a file")).expect("it can be read");
        let error = copy_at(&program, 0).expect_err("a test has no kernels");
        assert!(error.contains("no table of kernels") || error.contains("relocations"), "{error}");
    }
}
