//! Moves: bytes to another place.

use super::Operands;
use crate::certificate::value::Datum;

pub(super) fn apply(operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let len = operands.len();
    Some(match operands.name {
        "mov" | "movaps" | "movups" | "movapd" | "movupd" | "movdqa" | "movdqu" | "lddqu" | "movntps"
        | "movntdq" => operands.last()[..len].to_vec(),
        "movzx" => zero_extended(operands.last(), len),
        "movd" => zero_extended(&operands.last()[..4], len),
        "movq" => zero_extended(&operands.last()[..8], len),
        "movss" => scalar(operands, 4),
        "movsd" => scalar(operands, 8),
        "movlps" | "movlpd" => half(operands, 0),
        "movhps" | "movhpd" => half(operands, 8),
        "xchg" => operands.last().to_vec(),
        "pextrb" | "pextrw" | "pextrd" | "pextrq" | "extractps" => extracted(operands),
        _ => return None,
    })
}

/// Zeros behind what there is, or its front.
pub(super) fn zero_extended(source: &[Datum], len: usize) -> Vec<Datum> {
    let mut data = source[..source.len().min(len)].to_vec();
    data.resize(len, Datum::ZERO);
    data
}

/// The lowest number of a register: loaded it comes with zeros, otherwise it takes the place of one.
fn scalar(operands: &Operands<'_>, width: usize) -> Vec<Datum> {
    if operands.is_store {
        return operands.last()[..width].to_vec();
    }
    if operands.is_load {
        return zero_extended(&operands.last()[..width], operands.len());
    }
    let [under, over] = operands.pair();
    [&over[..width], &under[width..operands.len()]].concat()
}

/// Eight bytes of a register, from byte `at` on, to or from memory.
fn half(operands: &Operands<'_>, at: usize) -> Vec<Datum> {
    if operands.is_store {
        return operands.last()[at..at + 8].to_vec();
    }
    let [under, over] = operands.pair();
    let mut data = under.to_vec();
    data[at..at + 8].copy_from_slice(&over[..8]);
    data
}

/// An element of a register, alone.
fn extracted(operands: &Operands<'_>) -> Vec<Datum> {
    let width = match operands.name {
        "pextrb" => 1,
        "pextrw" => 2,
        "pextrq" => 8,
        _ => 4,
    };
    let source = operands.last();
    let at = operands.control() as usize % (16 / width) * width;
    zero_extended(&source[at..at + width], operands.len())
}
