//! The program and its libraries: what is code, what is constant, and what an address is called.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::ops::Range;

/// A mapped part of a file.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) range: Range<u64>,
    pub(super) is_writable: bool,
    path: String,
    /// Where the first part of the file is.
    base: u64,
}

/// Every mapped part of a file, ascending.
#[derive(Debug)]
pub(super) struct Modules(Vec<Mapping>);

impl Modules {
    pub(super) fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut all: Vec<Mapping> = maps.lines().filter_map(mapping).collect();
        for at in 0..all.len() {
            let first = all.iter().find(|other| other.path == all[at].path);
            all[at].base = first.map_or(0, |first| first.range.start);
        }
        Self(all)
    }

    /// The part that an address is in.
    pub(super) fn find(&self, address: u64) -> Option<&Mapping> {
        let at = self.0.partition_point(|mapping| mapping.range.end <= address);
        self.0.get(at).filter(|mapping| mapping.range.contains(&address))
    }

    /// The name of a file and the place in it: what `objdump` shows.
    pub(super) fn name(&self, address: u64) -> String {
        let Some(mapping) = self.find(address) else { return format!("{address:#x}") };
        format!("{}+{:#x}", mapping.file(), address - mapping.base)
    }

    /// The distance from the start of the file that an address is in.
    pub(super) fn offset(&self, address: u64) -> u64 {
        address - self.find(address).map_or(0, |mapping| mapping.base)
    }

    /// Whether an address is in the C library or the loader.
    pub(super) fn is_system(&self, address: u64) -> bool {
        let names = ["libc.", "libc-", "ld-", "libm.", "libm-", "libpthread", "[vdso]"];
        self.find(address).is_some_and(|mapping| names.iter().any(|name| mapping.file().starts_with(name)))
    }

    /// Whether an address is in this program, and in none of its libraries.
    pub(super) fn is_program(&self, address: u64) -> bool {
        let path = |address| self.find(address).map(|mapping| &mapping.path);
        path(address).is_some() && path(address) == path(Self::now as *const () as u64)
    }

    /// Where the loader has put the addresses of functions of other libraries, of every module: the entries of type `JUMP_SLOT` (System V
    /// ABI, AMD64 supplement, section 4.4.1).
    pub(super) fn slots(&self) -> HashSet<u64> {
        let mut slots = HashSet::new();
        // SAFETY: the callback gets the set that it is for, and is called before this returns.
        unsafe { libc::dl_iterate_phdr(Some(add_slots), (&raw mut slots).cast()) };
        slots
    }
}

impl Mapping {
    fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let path = words.nth(3)?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let is_module = path.starts_with('/') || path == "[vdso]";
    (is_module && access.starts_with('r')).then_some(())?;
    Some(Mapping {
        range: number(start)?..number(end)?,
        is_writable: access.contains('w'),
        path: path.to_owned(),
        base: 0,
    })
}

extern "C" fn add_slots(info: *mut libc::dl_phdr_info, _: usize, slots: *mut c_void) -> c_int {
    /// The type of a relocation.
    const JUMP_SLOT: u64 = 7;
    /// Tags of the dynamic section: the table of slots and its length.
    const TABLE: u64 = 23;
    const BYTES: u64 = 2;
    /// Bytes of an entry: an address, what it is, and an addend.
    const ENTRY: u64 = 24;
    // SAFETY: the loader passes a live description.
    let info = unsafe { &*info };
    // SAFETY: the set is that of the caller, who waits.
    let slots = unsafe { &mut *slots.cast::<HashSet<u64>>() };
    let Some(dynamic) = dynamic_section(info) else { return 0 };
    let word = |tag| dynamic.iter().find(|entry| entry[0] == tag).map(|entry| entry[1]);
    let (Some(table), Some(bytes)) = (word(TABLE), word(BYTES)) else { return 0 };
    // The loader has added where the module is, but for modules that it does not relocate.
    let table = if table < info.dlpi_addr { table + info.dlpi_addr } else { table };
    for entry in (table..table + bytes).step_by(ENTRY as usize) {
        // SAFETY: the entries are mapped for as long as the module is loaded.
        let [at, kind] = unsafe { std::ptr::with_exposed_provenance::<[u64; 2]>(entry as usize).read() };
        if kind as u32 as u64 == JUMP_SLOT {
            slots.insert(info.dlpi_addr + at);
        }
    }
    0
}

/// The tags and values of the dynamic section of a module.
fn dynamic_section(info: &libc::dl_phdr_info) -> Option<Vec<[u64; 2]>> {
    // SAFETY: the loader says where the headers are and how many.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let header = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
    let start = std::ptr::with_exposed_provenance::<[u64; 2]>((info.dlpi_addr + header.p_vaddr) as usize);
    // SAFETY: the section is mapped, consists of pairs of words, and ends with a tag of 0.
    let entry = |at| unsafe { start.wrapping_add(at).read() };
    Some((0..).map(entry).take_while(|&[tag, _]| tag != 0).collect())
}
