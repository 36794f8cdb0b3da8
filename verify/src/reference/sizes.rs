//! Whether the buffers of a call are as large as its sizes say.

use crate::domain::Domain;
use crate::format::Scale;
use crate::kernel::Arguments;
use crate::operation::Operation;

/// Whether all sizes are right. Nothing is read.
pub(super) fn are_right(domain: &Domain, arguments: &Arguments<'_>) -> bool {
    match domain.operation {
        Operation::Unpack => holds(domain, arguments, 1, arguments.out_bytes.len()),
        Operation::Dequantize => {
            let len = arguments.out.len();
            holds(domain, arguments, 1, len)
                && has_scales(domain, arguments, len.div_ceil(domain.format.block_len))
        }
        Operation::Gemm => gemm(domain, arguments).is_some(),
        Operation::Dot => dot(domain, arguments).is_some(),
        _ => false,
    }
}

/// Whether the packed bytes hold rows of `cols` columns.
fn holds(domain: &Domain, arguments: &Arguments<'_>, rows: usize, cols: usize) -> bool {
    let row_bytes = || {
        let blocks = cols.div_ceil(domain.format.block_len).checked_mul(domain.format.block_bytes)?;
        blocks.checked_add(if cols == 0 { 0 } else { domain.format.header_bytes() })
    };
    let needed = || {
        let row_bytes = row_bytes()?;
        match rows {
            0 => Some(0),
            1 => Some(row_bytes),
            _ if arguments.row_stride < row_bytes => None,
            _ => (rows - 1).checked_mul(arguments.row_stride)?.checked_add(row_bytes),
        }
    };
    needed().is_some_and(|needed| arguments.packed.len() >= needed)
}

/// Whether the scales, if there are any, are those of this many blocks.
fn has_scales(domain: &Domain, arguments: &Arguments<'_>, blocks: usize) -> bool {
    let needed = if domain.format.scale() == Scale::Tensor { 1 } else { blocks };
    arguments.scales.is_none_or(|scales| scales.len() >= needed)
}

/// Elements of vectors of this length, one behind the other; `None` where they overlap, or are more than memory holds.
fn vectors(batch: usize, len: usize, stride: usize) -> Option<usize> {
    match batch {
        0 => Some(0),
        1 => Some(len),
        _ if stride < len => None,
        _ => (batch - 1).checked_mul(stride)?.checked_add(len),
    }
}

fn gemm(domain: &Domain, arguments: &Arguments<'_>) -> Option<()> {
    let &Arguments { rows, cols, batch, x_stride, out_stride, .. } = arguments;
    let x = vectors(batch, cols, x_stride)?;
    let out = vectors(batch, rows, out_stride)?;
    let scales = has_scales(domain, arguments, rows.checked_mul(cols.div_ceil(domain.format.block_len))?);
    let fits = arguments.x.len() >= x && arguments.out.len() >= out && scales;
    (fits && holds(domain, arguments, rows, cols)).then_some(())
}

fn dot(domain: &Domain, arguments: &Arguments<'_>) -> Option<()> {
    let &Arguments { rows, cols, .. } = arguments;
    let kind = domain.activations;
    let is_whole = cols.is_multiple_of(domain.format.block_len) && cols.is_multiple_of(kind.block_len);
    let bytes = (cols / kind.block_len).checked_mul(kind.block_bytes)?;
    let fits = is_whole && arguments.activations.len() >= bytes && arguments.out.len() >= rows;
    (fits && holds(domain, arguments, rows, cols)).then_some(())
}
