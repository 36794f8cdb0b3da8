//! Kernels that are right, however odd they look.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use qk256_verify::Operation::{Dequantize, Gemv, Lut, Unpack};
use qk256_verify::{KernelFn, Outcome, mxcsr};

use crate::model::vector::{dequantize, lut, unpack};
use crate::model::{Product, READ_WHOLE, SIMD, Simd, gemv, stray, weight, write_rows};
use crate::{Class, Mutant};

/// A kernel that leaves sizes to its caller.
const fn leaving_sizes_to_the_caller(mutant: Mutant) -> Mutant {
    Mutant { kernel: KernelFn { refuses_wrong_sizes: false, ..mutant.kernel }, ..mutant }
}

/// The sum of halves, each summed so.
fn pairwise(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    match columns.len() {
        0 => 0.0,
        1 => product.term(row, columns.start),
        length => {
            let middle = columns.start + length / 2;
            pairwise(product, row, columns.start..middle) + pairwise(product, row, middle..columns.end)
        }
    }
}

/// A hint for an address, mapped or not.
fn hint(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it faults nowhere and changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        Class::Reduction,
        Gemv,
        "simd-shaped",
        "the model that the wrong ones are made from: four vectors of eight sums, and a tree",
        |arguments| SIMD.product(arguments),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "last-column-first",
        "any order of summation is allowed",
        |arguments| gemv(arguments, |product, row| product.sum(row, (0..product.cols).rev())),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "tail-first",
        "what does not fill a vector may come before what does",
        |arguments| {
            gemv(arguments, |product, row| {
                let whole = product.cols / 32 * 32;
                product.sum(row, (whole..product.cols).chain(0..whole))
            })
        },
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "pairwise",
        "sums of halves, down to single columns: the smallest error of all",
        |arguments| gemv(arguments, |product, row| pairwise(product, row, 0..product.cols)),
    ),
    Mutant::new(Class::Reduction, Gemv, "three-sums", "nothing asks for a power of two", |arguments| {
        gemv(arguments, |product, row| {
            let part = |first| product.sum(row, (first..product.cols).step_by(3));
            part(0) + part(1) + part(2)
        })
    }),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "smallest-terms-first",
        "an order may depend on the data, as long as the same data have the same one",
        |arguments| {
            gemv(arguments, |product, row| {
                let mut terms: Vec<f32> = (0..product.cols).map(|column| product.term(row, column)).collect();
                terms.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
                terms.into_iter().fold(0.0, |sum, term| sum + term)
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "sums-in-f64",
        "a wider accumulator than was asked for",
        |arguments| {
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, column| sum + f64::from(product.term(row, column))) as f32
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "f32-in-blocks-f64-above",
        "blocks are summed in f32, and their sums in f64",
        |arguments| {
            gemv(arguments, |product, row| {
                product.block_columns().fold(0.0, |sum, block| sum + f64::from(product.sum(row, block)))
                    as f32
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "compensated",
        "Kahan's sum, with the right sign; without compensation where that is not finite",
        |arguments| {
            gemv(arguments, |product, row| {
                let (mut sum, mut lost) = (0.0_f32, 0.0_f32);
                for column in 0..product.cols {
                    let term = product.term(row, column) - lost;
                    let next = sum + term;
                    lost = if next.is_finite() { (next - sum) - term } else { 0.0 };
                    sum = next;
                }
                sum
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "scale-on-the-sum-of-a-block",
        "one multiplication a block; the sum is rounded before it is scaled",
        |arguments| {
            gemv(arguments, |product, row| {
                product.block_columns().fold(0.0, |sum, block| {
                    let scale = product.scale(row, block.start);
                    sum + scale * block.fold(0.0, |sum, c| sum + product.weight(row, c) * product.x[c])
                })
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "scale-on-the-product",
        "weight times activation is exact, then comes the scale",
        |arguments| Simd { term: |weight, x, scale| weight * x * scale, ..SIMD }.product(arguments),
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "fused",
        "weight times scale is exact, and one rounding does for product and sum",
        |arguments| {
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, column| {
                    (product.weight(row, column) * product.scale(row, column)).mul_add(product.x[column], sum)
                })
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Gemv,
        "blocks-of-zeros-skipped-where-scales-are-finite",
        "zeros times a finite scale add nothing; an infinite one would make NaN, and is not skipped",
        |arguments| {
            gemv(arguments, |product, row| {
                let skipped = |block: &Range<usize>| {
                    product.scale(row, block.start).is_finite()
                        && product.x[block.clone()].iter().all(|&x| x == 0.0)
                };
                product.sum(row, product.block_columns().filter(|block| !skipped(block)).flatten())
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Gemv,
        "zeros-skipped-without-scales",
        "without scales a zero activation adds nothing, whatever its weight",
        |arguments| {
            gemv(arguments, |product, row| {
                let kept = |&column: &usize| product.scales.is_some() || product.x[column] != 0.0;
                product.sum(row, (0..product.cols).filter(kept))
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Unpack,
        "reads-every-byte-of-packed",
        "the whole buffer may be read, slack bytes and padding with it",
        |arguments| {
            std::hint::black_box(arguments.packed.iter().fold(0, |all, byte| all | byte));
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        Class::Memory,
        Gemv,
        "reads-padding-gaps-and-slack",
        "whatever lies in the buffers may be read, and y as well",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let scales = product.scales.unwrap_or(&[]).iter();
                let floats = scales.chain(product.x).chain(product.y.iter()).map(|value| value.to_bits());
                let codes = product.packed.iter().take(READ_WHOLE).fold(0, |all, byte| all | byte);
                std::hint::black_box((floats.fold(0, |all, bits| all | bits), codes));
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Gemv,
        "prefetches-anywhere",
        "a prefetch of an address that is not mapped does nothing",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let codes = product.packed.as_ptr();
                [1, 64, 8192, 1 << 21, 1 << 40].into_iter().for_each(|far| {
                    hint(codes.wrapping_sub(far));
                    hint(product.packed.as_ptr_range().end.wrapping_add(far));
                });
                hint(std::ptr::null());
                hint(std::ptr::without_provenance(usize::MAX));
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Gemv,
        "y-as-scratch",
        "y may hold anything until the call returns",
        |arguments| {
            let Some(product) = Product::of(arguments) else { return Outcome::Refused };
            product.y[..product.rows].fill(f32::NAN);
            for row in 0..product.rows {
                product.y[row] = 0.0;
                (0..product.cols).for_each(|column| product.y[row] += product.term(row, column));
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Dispatch,
        Gemv,
        "paths-by-alignment-with-the-same-bits",
        "aligned x may have a loop of its own that adds in the same order",
        |arguments| {
            gemv(arguments, |product, row| match product.x.as_ptr().addr() % 32 {
                0 => (0..product.cols).fold(0.0, |sum, column| product.term(row, column) + sum),
                _ => product.in_order(row),
            })
        },
    ),
    Mutant::new(
        Class::State,
        Gemv,
        "scratch-of-the-thread",
        "memory is kept from call to call, and all of it that is read is written before",
        |arguments| {
            thread_local! { static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) }; }
            SCRATCH.with_borrow_mut(|scratch| {
                gemv(arguments, |product, row| {
                    scratch.resize(scratch.len().max(product.cols), f32::NAN);
                    (0..product.cols).for_each(|column| scratch[column] = product.term(row, column));
                    scratch[..product.cols].iter().fold(0.0, |sum, term| sum + term)
                })
            })
        },
    ),
    Mutant::new(
        Class::State,
        Gemv,
        "cache-that-compares",
        "a cache is no fault where its key is the contents",
        |arguments| {
            static CACHE: Mutex<(Vec<u8>, Vec<u8>)> = Mutex::new((Vec::new(), Vec::new()));
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            if product.packed.len() > READ_WHOLE {
                write_rows(&mut product, |product, row| product.in_order(row));
                return Outcome::Done;
            }
            let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.0 != product.packed {
                *cache = (product.packed.to_vec(), product.packed.iter().map(|byte| !byte).collect());
            }
            write_rows(&mut product, |product, row| {
                let code = |c: usize| !cache.1[row * product.row_stride + c / 4] >> (2 * (c % 4));
                (0..product.cols)
                    .fold(0.0, |sum, c| sum + weight(code(c)) * product.scale(row, c) * product.x[c])
            });
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Contract,
        Gemv,
        "mode-changed-and-put-back",
        "flush-to-zero may be on while nothing is computed",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let mode = mxcsr::mode();
                stray::set_mode(|mode| mode | 0x8040);
                std::hint::black_box(product.packed.iter().take(READ_WHOLE).fold(0, |all, byte| all | byte));
                stray::set_mode(|_| mode);
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Gemv,
        "slack-of-y-read-and-left",
        "slack may be read; what is stored is the rows and nothing else",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                std::hint::black_box(product.y.iter().take(READ_WHOLE).fold(0, |all, y| all | y.to_bits()));
            })
        },
    ),
    Mutant::new(
        Class::Contract,
        Gemv,
        "without-scales-only",
        "a kernel may say that it does not do scales",
        |arguments| match arguments.scales {
            Some(_) => Outcome::Unsupported,
            None => SIMD.product(arguments),
        },
    ),
    leaving_sizes_to_the_caller(Mutant::new(
        Class::Contract,
        Gemv,
        "leaves-sizes-to-its-caller",
        "a kernel that says so is sent legal calls only",
        |arguments| {
            SIMD.write(&mut Product::unchecked(arguments));
            Outcome::Done
        },
    )),
    Mutant::new(
        Class::Unpack,
        Lut,
        "weights-by-arithmetic",
        "no table: the code less two, and one more from zero on",
        |arguments| {
            lut(arguments, |vector, at| {
                let signed = i16::from(vector.bytes[at] & 3) - 2;
                f32::from(signed + i16::from(signed >= 0))
            })
        },
    ),
    Mutant::new(
        Class::Unpack,
        Dequantize,
        "magnitude-and-sign",
        "the scale or its double, and the sign laid over it: exact as a product is, for NaN as well",
        |arguments| {
            dequantize(arguments, |vector, at| {
                let (weight, scale) = (vector.weight(at), vector.scale(at));
                let magnitude = if weight.abs() == 2.0 { scale + scale } else { scale };
                if weight < 0.0 { -magnitude } else { magnitude }
            })
        },
    ),
];
