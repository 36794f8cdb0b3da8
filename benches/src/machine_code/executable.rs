//! The functions of the running program, found by name in its file.

use std::collections::BTreeMap;
use std::fmt::Display;

use iced_x86::Instruction;
use object::{File, Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget, SymbolKind};

use super::decode::{Callees, Function, Problem, decode};

/// The functions whose paths are `wanted`, decoded, by path and address. A path has neither hash nor generic arguments, so
/// that it may be that of several functions.
///
/// # Errors
/// If the file cannot be read, has no table of symbols, or has something else where the code of a function should be.
pub(super) fn functions(wanted: impl Fn(&str) -> bool) -> Result<Vec<Function>, Problem> {
    let path = std::env::current_exe().map_err(|error| format!("this program has no file: {error}"))?;
    let in_file = |error: &dyn Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(&path).map_err(|error| in_file(&error))?;
    decoded(&bytes, wanted).map_err(|error| in_file(&error))
}

/// The functions of an executable.
fn decoded(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<Function>, Problem> {
    let file = File::parse(bytes).map_err(|error| error.to_string())?;
    let symbols = Symbols::new(&file);
    if symbols.names.is_empty() {
        return Err("no symbols to find functions by: build it without `strip`".to_owned());
    }
    let mut functions = Vec::new();
    for symbol in file.symbols().filter(is_function) {
        let path = path(&symbol);
        if wanted(&path) {
            functions.push(decode(path, symbol.address(), code(&file, &symbol)?, &symbols)?);
        }
    }
    functions.sort_by(|a, b| (&a.path, a.address).cmp(&(&b.path, b.address)));
    Ok(functions)
}

type Symbol<'data, 'file> = object::Symbol<'data, 'file>;

fn is_function(symbol: &Symbol<'_, '_>) -> bool {
    symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
}

/// The bytes of a function.
fn code<'data>(file: &File<'data>, symbol: &Symbol<'data, '_>) -> Result<&'data [u8], Problem> {
    let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
    let bytes = section.and_then(|section| section.data_range(symbol.address(), symbol.size()).ok());
    bytes.flatten().ok_or_else(|| format!("the code of {} is not in it", path(symbol)))
}

/// What a symbol stands for.
fn path(symbol: &Symbol<'_, '_>) -> String {
    let full = format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or_default()));
    match full.split_once("::<") {
        Some((path, _)) if full.ends_with('>') => path.to_owned(),
        _ => full,
    }
}

/// Where calls lead to.
struct Symbols {
    /// Functions of the file, by their addresses.
    names: BTreeMap<u64, String>,
    /// Functions whose addresses the loader writes to memory, by that memory's addresses.
    slots: BTreeMap<u64, String>,
}

impl Symbols {
    fn new(file: &File<'_>) -> Self {
        let names: BTreeMap<_, _> =
            file.symbols().filter(is_function).map(|symbol| (symbol.address(), path(&symbol))).collect();
        let of_library = |index| {
            let symbol = file.dynamic_symbol_table()?.symbol_by_index(index).ok()?;
            Some(symbol.name().ok()?.to_owned())
        };
        let slot = |(slot, relocation): (u64, object::Relocation)| {
            let name = match relocation.target() {
                RelocationTarget::Symbol(index) => of_library(index),
                _ => names.get(&relocation.addend().cast_unsigned()).cloned(),
            };
            Some((slot, name?))
        };
        let slots = file.dynamic_relocations().into_iter().flatten().filter_map(slot).collect();
        Self { names, slots }
    }
}

impl Callees for Symbols {
    fn name(&self, instruction: &Instruction) -> Option<String> {
        let (names, address) = if instruction.is_ip_rel_memory_operand() {
            (&self.slots, instruction.ip_rel_memory_address())
        } else {
            (&self.names, instruction.near_branch_target())
        };
        names.get(&address).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_executable_or_has_no_symbols_is_an_error_that_says_so() {
        let header = |sections: &[u8]| {
            let ident = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0";
            [&ident[..], &[0; 28], &[64, 0, 56, 0, 0, 0, 64, 0], sections].concat()
        };
        for (bytes, expected) in
            [(b"#!/bin/sh".to_vec(), "file"), (header(&[0, 0, 0, 0]), "build it without `strip`")]
        {
            let error = decoded(&bytes, |_| true).expect_err("there is no function in it");
            assert!(error.contains(expected), "{error}");
        }
    }
}
