//! Rows that do not fill a tile, and rows looked for in the wrong place.

use qk256_verify::Operation::{Gemv, GemvFixed};
use qk256_verify::Outcome;

use crate::model::fixed::{RIGHT_WAY, Way};
use crate::model::{Product, SIMD, Simd, stray, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::RowsAndTiles;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "last-of-three-remainder-rows-reads-row-zero",
        "pointers of rows that a tile lacks are set to the first row so that they can be read, one row too early",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                let last_of_three = product.rows % 4 == 3 && product.is_last(row);
                product.code(if last_of_three { 0 } else { row }, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-two-of-three-remainder-rows-swapped",
        "a rest of three rows is a pair and a single one, written in the order in which they are done",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                let in_pair = product.rows % 4 == 3 && row + 2 >= product.rows;
                product.code(if in_pair { 2 * product.rows - 3 - row } else { row }, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "rows-from-32-on-start-over",
        "the number of a row within its panel is kept in five bits",
        |arguments| {
            Simd { code: |product, row, column| product.code(row % 32, column), ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "rows-from-64-on-start-over",
        "a mask of rows has 64 bits, and a shift by 64 is a shift by none",
        |arguments| {
            let finish = |product: &Product<'_>, row: usize, sum: f32| {
                if row >= 64 { product.in_order(row % 64) } else { sum }
            };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "row-index-in-8-bits",
        "the row of a tile is passed as a byte, which holds all rows of a test and not those of a layer",
        |arguments| {
            Simd { code: |product, row, column| product.code(usize::from(row as u8), column), ..SIMD }
                .product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "row-index-in-16-bits",
        "vocabularies have more than 65536 rows (ik_llama.cpp pull 1059 is the same with 32 bits and 2^31 elements)",
        |arguments| {
            Simd { code: |product, row, column| product.code(usize::from(row as u16), column), ..SIMD }
                .product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stride-taken-for-dense",
        "the stride is passed on and the pointer moved by the bytes of a row",
        |arguments| {
            let code =
                |product: &Product<'_>, row, column| product.code_from(row * product.row_bytes(), column);
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stride-cut-to-whole-blocks",
        "the stride is divided by the bytes of a block to be counted in blocks",
        |arguments| {
            let code = |product: &Product<'_>, row, column| {
                product.code_from(row * (product.row_stride / 64 * 64), column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stride-cut-to-whole-floats",
        "the matrix is read through a pointer to 32-bit words, and the stride counted in them",
        |arguments| {
            let code = |product: &Product<'_>, row, column| {
                product.code_from(row * (product.row_stride / 4 * 4), column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "offset-of-a-row-in-32-bits",
        "an offset in 32 bits wraps in a matrix of 4 GiB (llama.cpp issue 599 and others like it)",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                product.code_from((row * product.row_stride) as u32 as usize, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "offset-of-a-row-in-31-bits-and-a-sign",
        "an int times an int is an int, and negative from 2 GiB on",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column: usize| {
                let start =
                    product.packed.as_ptr().wrapping_offset((row * product.row_stride) as i32 as isize);
                stray::read(start.wrapping_add(column / 4)) >> (2 * (column % 4)) & 3
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "offset-of-a-code-in-32-bits",
        "offsets are counted in elements of a quarter of a byte, and wrap from 1 GiB on",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column: usize| {
                let at = (4 * row * product.row_stride + column) as u32 as usize;
                product.code_from(0, at)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "odd-last-row-not-written",
        "rows are done in pairs, and a kernel that writes eight of sixteen rows leaves garbage in the others",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            if product.rows > 1 {
                product.rows = product.rows / 2 * 2;
            }
            SIMD.write(&mut product);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "tile-of-eight-stored-in-the-order-of-haddps",
        "haddps adds within halves of 128 bits, so that eight rows come out as 0 1 4 5 2 3 6 7",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            SIMD.write(&mut product);
            for tile in product.y[..product.rows].chunks_exact_mut(8) {
                tile.swap(2, 4);
                tile.swap(3, 5);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-row-taken-for-the-one-before-at-five",
        "a rest of one row goes by the tile kernel, moved up by a row so that it fits",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                let moved = product.rows % 4 == 1 && product.rows > 4 && product.is_last(row);
                product.code(row - usize::from(moved), column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "tail-of-the-second-row-of-a-pair-from-the-first",
        "two rows share a loop, and the tail was written for one",
        |arguments| {
            let of = |product: &Product<'_>, row: usize, column: usize| {
                let in_tail = column >= product.cols / 128 * 128;
                weight(product.code(if in_tail { row / 2 * 2 } else { row }, column))
            };
            Way { weight: of, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "fixed-offset-of-a-row-in-32-bits",
        "as in f32: the two kernels were written by one hand",
        |arguments| {
            let of = |product: &Product<'_>, row: usize, column: usize| {
                weight(product.code_from((row * product.row_stride) as u32 as usize, column))
            };
            Way { weight: of, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
