//! The kernels of a type of ggml.

use super::adapters::{self, ToFloat, VecDot};
use super::tables::{CpuTraits, Tables};
use crate::domain::Domain;
use crate::format::ggml::{self, Type};
use crate::library::{GgmlOptions, Library};
use crate::operation::Operation;
use crate::plugin::abi::{Function, PluginKernel};
use crate::registry::TWIN;
use crate::requirements::Requirements;

/// What the kernels of a type's own entries are called.
const NAME: &str = "ggml";

/// A library with the features that its code uses.
pub(super) type Origin<'a> = (&'a Library, &'a [&'static str]);

/// The kernels of a type. If its format has no description, its `to_float` decodes it from now on.
///
/// # Safety
/// The functions of the tables are those of ggml.
///
/// # Errors
/// What the library has that is not as it is known.
pub(super) unsafe fn of(
    tables: &Tables,
    wanted: &Type,
    origin: Origin<'_>,
    options: &GgmlOptions,
) -> Result<Vec<PluginKernel>, String> {
    let (traits, cpu_traits) = tables.entries(wanted)?;
    let Some(to_float) = traits.to_float else {
        return Err(format!("`{}` has no `to_float`", wanted.name));
    };
    // SAFETY: the caller says what the function is.
    let decode = unsafe { decoder(to_float) };
    if !ggml::decode_by(wanted.format, decode) {
        return Err(format!(
            "`{}` is decoded by another library in this process: check one at a time",
            wanted.name
        ));
    }
    // SAFETY: every function is kept as one without a type, and its adapter gives it back the one that it has.
    let function = unsafe { std::mem::transmute::<ToFloat, Function>(to_float) };
    let domain = Domain::of(Operation::Dequantize, wanted.format).requiring(Requirements {
        cols_multiple: wanted.format.block_len as u32,
        ..required(wanted, options)
    });
    // SAFETY: the function is a `to_float`.
    let mut kernels =
        vec![unsafe { PluginKernel::through((adapters::to_float, function), NAME, domain, origin) }];
    // SAFETY: as the caller says.
    kernels.extend(unsafe { products(tables, wanted, cpu_traits, origin, options) }?);
    Ok(kernels)
}

/// The products of a type: its own, and the portable twin.
///
/// # Safety
/// As of [`of`].
unsafe fn products(
    tables: &Tables,
    wanted: &Type,
    traits: CpuTraits,
    origin: Origin<'_>,
    options: &GgmlOptions,
) -> Result<Vec<PluginKernel>, String> {
    let Some(vec_dot) = traits.vec_dot else { return Ok(Vec::new()) };
    let operand = traits.operand()?;
    let required = required(wanted, options);
    let alignment = required.alignment.max(operand.alignment);
    let required = Requirements { alignment, activation_min: options.activation_min, ..required };
    let domain = Domain::of(Operation::Dot, wanted.format).with(operand.kind).requiring(required);
    // SAFETY: as in `of`.
    let own = unsafe { std::mem::transmute::<VecDot, Function>(vec_dot) };
    let twin = tables.function(&format!("ggml_vec_dot_{}_{}_generic", wanted.name, operand.name));
    let functions = [(NAME, Some(own)), (TWIN, twin)];
    let kernels = functions.into_iter().filter_map(|(name, function)| {
        // SAFETY: both are `vec_dot` functions.
        Some(unsafe { PluginKernel::through((adapters::vec_dot, function?), name, domain, origin) })
    });
    Ok(kernels.collect())
}

/// What all kernels of a type require.
fn required(wanted: &Type, options: &GgmlOptions) -> Requirements {
    let weight_min = if ggml::has_integers(wanted.format) { options.weight_min } else { i8::MIN };
    Requirements { alignment: wanted.alignment, weight_min, ..Requirements::NONE }
}

/// What the oracle decodes blocks by.
///
/// # Safety
/// The function is one that decodes blocks of so many elements as the slices have that it is called with.
unsafe fn decoder(to_float: ToFloat) -> ggml::ToFloat {
    Box::new(move |block, weights| {
        // Blocks of cases may lie at any address; those of ggml are aligned.
        let mut words = vec![0_u32; block.len().div_ceil(size_of::<u32>())];
        let bytes: *mut u8 = words.as_mut_ptr().cast();
        // SAFETY: there are at least as many bytes.
        unsafe { bytes.copy_from_nonoverlapping(block.as_ptr(), block.len()) };
        // SAFETY: the block is whole, and there is room for its weights.
        unsafe { to_float(bytes.cast(), weights.as_mut_ptr(), weights.len() as i64) };
    })
}
