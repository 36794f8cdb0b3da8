//! Codes of the wrong place, and columns and rows that are left out.

use super::{I2_S, IQ2_BN, Q1_0, Q2_0, Q4_0, TQ2_0};
use crate::model::dot::{self, Operands, Way, sum};
use crate::model::packing::{self, Packing};
use crate::{Class, Mutant};

/// Bits of a byte of a row: those of a slot of two bits.
fn slot(operands: &Operands<'_>, row: usize, column: usize, byte: usize, slot: usize) -> i32 {
    let block = operands.packing.block(operands.row(row), column / operands.packing.block_len());
    i32::from(block[byte] >> (2 * slot) & 3)
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Unpack,
        Q4_0,
        "dot-nibbles-swapped",
        "the low halves of 16 bytes come first, and a kernel for another packing takes them in pairs or the high ones first",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| operands.code(row, column ^ 16) - 8;
            Way { weight, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        Q4_0,
        "dot-nibbles-interleaved",
        "vpunpcklbw puts the low and the high half of a byte side by side, and the activations are not permuted with them",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let at = column % 32;
                operands.code(row, column - at + at / 2 + at % 2 * 16) - 8
            };
            Way { weight, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        Q2_0,
        "dot-first-code-in-the-high-bits",
        "i2_s has its first code there, and its kernel was the template",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| operands.code(row, column ^ 3) - 1;
            Way { weight, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        I2_S,
        "dot-first-code-in-the-low-bits",
        "tq2_0 has its first code there, and the two formats differ in nothing else that the eye sees",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let at = column % 128;
                operands.code(row, column - at + 96 - at / 32 * 32 + at % 32)
            };
            Way { weight, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        Q1_0,
        "dot-signs-from-the-top-bit",
        "vpmovmskb and its inverse were written for bits in network order",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| operands.code(row, column ^ 7) - 1;
            Way { weight, ..dot::Q1_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        TQ2_0,
        "dot-groups-of-16-for-32",
        "the same layout for registers of 128 bits: bitnet.cpp packs i2_s for Arm in groups of 16 and for x86 in groups of 32",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let at = column % 256;
                slot(operands, row, column, at / 64 * 16 + at % 16, at % 64 / 16) - 1
            };
            Way { weight, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        IQ2_BN,
        "dot-groups-of-32-for-16",
        "two blocks are loaded at once and shifted as one, as if they were a block of 128",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let at = column % 128;
                let paired = (column / 128 + 1) * 128 <= operands.cols;
                match paired {
                    true => operands.code(row, column - at + at % 32 / 16 * 64 + at / 32 * 16 + at % 16) - 1,
                    false => operands.code(row, column) - 1,
                }
            };
            Way { weight, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        TQ2_0,
        "dot-code-three-taken-for-minus-one",
        "encoders of ternary weights never write code 3, and a table of three entries is read past its end",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                [-1, 0, 1, -1][operands.code(row, column) as usize]
            };
            Way { weight, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        TQ2_0,
        "dot-second-half-of-a-block-from-the-first",
        "the pointer to 32 bytes of codes is not moved for the second 128 elements",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| operands.code(row, column & !128) - 1;
            Way { weight, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        Q4_0,
        "dot-last-of-an-odd-number-of-blocks-skipped",
        "ggml's loops over two blocks of q4_0 once asserted that their number is even (assert(nb % 2 == 0)), and asserts are compiled out",
        |arguments| Way { runs: |operands| operands.runs() / 2 * 2, ..dot::Q4_0 }.product(arguments),
    ),
    Mutant::of(
        Class::Tails,
        IQ2_BN,
        "dot-single-block-of-64-times-the-first-half",
        "two blocks a step; the activations of a step are loaded before the loop and not again for the block that is left over",
        |arguments| {
            let value = |operands: &Operands<'_>, column: usize| {
                let is_tail = column / 128 * 128 + 128 > operands.cols && operands.cols > 128;
                operands.value(if is_tail { column - 128 } else { column })
            };
            Way { value, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        I2_S,
        "dot-blocks-behind-a-group-of-32-skipped",
        "bitnet.cpp's loop of 32 blocks is followed by one for the rest, whose pointer starts at the rest of a full one",
        |arguments| {
            let runs = |operands: &Operands<'_>| match operands.runs() {
                few @ ..32 => few,
                many => many / 32 * 32,
            };
            Way { runs, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        Q1_0,
        "dot-columns-past-4096-dropped",
        "unpacked signs go to an array on the stack, sized for the widest layer of the model at hand",
        |arguments| {
            Way { runs: |operands| operands.runs().min(4096 / operands.run_len()), ..dot::Q1_0 }
                .product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        Q4_0,
        "dot-stride-taken-for-dense",
        "rows are indexed by blocks: row * blocks + block",
        |arguments| {
            let weight = |operands: &Operands<'_>, row: usize, column| {
                let start = row * operands.shape().row_bytes();
                operands.packing.code(&operands.packed[start..], column) - 8
            };
            Way { weight, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        IQ2_BN,
        "dot-header-of-a-row-read-once",
        "a scale a row of iq2_bn stood for a scale a tensor of i2_s, and is loaded in front of the loop over rows",
        |arguments| {
            Way { scale: |operands, _, run| operands.scale(0, run), ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        IQ2_BN,
        "dot-header-counted-in-the-first-row-only",
        "the stride is that of the blocks, and the bytes in front of them are skipped once for the matrix",
        |arguments| {
            let weight = |operands: &Operands<'_>, row: usize, column| {
                let headless = Packing { header: 0, ..packing::IQ2_BN };
                let start = 4 + row * (operands.row_stride - if operands.rows > 1 { 4 } else { 0 });
                headless.code(&operands.packed[start..], column) - 1
            };
            Way { weight, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        Q2_0,
        "dot-third-of-three-rows-left-as-it-was",
        "rows go in pairs, and the single one that is left over is written only if it is the first",
        |arguments| {
            let Some(mut operands) = Operands::of(&dot::Q2_0, arguments) else {
                return crate::Outcome::Refused;
            };
            if operands.rows > 2 {
                operands.rows = operands.rows / 2 * 2;
            }
            dot::Q2_0.write(&mut operands);
            crate::Outcome::Done
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        TQ2_0,
        "dot-offset-of-a-row-in-32-bits",
        "row * row_stride as int: matrices of 4 GiB are read from their start",
        |arguments| {
            let weight = |operands: &Operands<'_>, row: usize, column| {
                let start = (row * operands.row_stride) as u32 as usize;
                operands.packing.code(&operands.packed[start..], column) - 1
            };
            Way { weight, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Dispatch,
        Q4_0,
        "dot-wrong-from-48-blocks-on",
        "long rows take a loop of four blocks a step, and the fourth adds the products of the third",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                let is_lost = operands.runs() >= 48 && run % 4 == 3;
                if is_lost { sum(&terms[..16]) } else { sum(terms) }
            };
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
];
