//! The kernels of a type of ggml.

use super::adapters::{self, FromFloat, ToFloat, VecDot};
use super::tables::{CpuTraits, Tables};
use crate::domain::Domain;
use crate::format;
use crate::format::ggml::{self, Type};
use crate::format::integers;
use crate::library::{GgmlOptions, Library};
use crate::operation::Operation;
use crate::plugin::abi::{Adapter, Function, PluginKernel};
use crate::registry::TWIN;
use crate::requirements::Requirements;

/// What the kernels of a type's own entries are called.
const NAME: &str = "ggml";

/// A library, and what is wanted of it.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) tables: &'a Tables,
    pub(super) library: &'a Library,
    /// CPU features that its code uses.
    pub(super) features: &'a [&'static str],
    pub(super) options: &'a GgmlOptions,
}

impl Origin<'_> {
    /// The kernels of a type. If its format has no description, its `to_float` decodes it from now on.
    ///
    /// # Safety
    /// The functions of the tables are those of ggml.
    ///
    /// # Errors
    /// What the library has that is not as it is known.
    pub(super) unsafe fn kernels(self, wanted: &Type) -> Result<Vec<PluginKernel>, String> {
        let (traits, cpu_traits) = self.tables.entries(wanted)?;
        // SAFETY: as the caller says.
        let dequantize = unsafe { self.dequantize(wanted, traits.to_float) }?;
        // SAFETY: as above.
        let products = unsafe { self.products(wanted, cpu_traits) }?;
        // SAFETY: as above.
        let quantize = unsafe { self.quantize(wanted, cpu_traits.from_float) };
        Ok(dequantize.into_iter().chain(products).chain(quantize).collect())
    }

    /// The kernel that a `to_float` is.
    ///
    /// # Safety
    /// The function is one of ggml.
    unsafe fn dequantize(
        self,
        wanted: &Type,
        to_float: Option<ToFloat>,
    ) -> Result<Option<PluginKernel>, String> {
        let Some(to_float) = to_float else {
            let is_needed = format::is_of_library(wanted.format);
            return if is_needed { Err(format!("`{}` has no `to_float`", wanted.name)) } else { Ok(None) };
        };
        // SAFETY: the caller says what the function is.
        let decode = unsafe { decoder(to_float) };
        if !ggml::decode_by(wanted.format, decode) {
            let what = "is decoded by another library in this process: check one at a time";
            return Err(format!("`{}` {what}", wanted.name));
        }
        // SAFETY: every function is kept as one without a type, and its adapter gives it back the one that it has.
        let function = unsafe { std::mem::transmute::<ToFloat, Function>(to_float) };
        let required = Requirements { weight_min: self.weight_min(wanted), ..whole_blocks(wanted) };
        let domain = Domain::of(Operation::Dequantize, wanted.format).requiring(required);
        // SAFETY: the function is a `to_float`.
        Ok(Some(unsafe { self.kernel((adapters::to_float, function), NAME, domain) }))
    }

    /// The products of a type: its own, and the portable twin.
    ///
    /// # Safety
    /// As of [`kernels`](Self::kernels).
    unsafe fn products(self, wanted: &Type, traits: CpuTraits) -> Result<Vec<PluginKernel>, String> {
        let Some(vec_dot) = traits.vec_dot else { return Ok(Vec::new()) };
        let operand = traits.operand()?;
        let domain = Domain::of(Operation::Dot, wanted.format).with(operand.kind).requiring(Requirements {
            alignment: wanted.alignment.max(operand.alignment),
            activation_min: self.options.activation_min,
            weight_min: self.weight_min(wanted),
            ..Requirements::NONE
        });
        // SAFETY: as in `dequantize`.
        let own = unsafe { std::mem::transmute::<VecDot, Function>(vec_dot) };
        let twin = self.tables.function(&format!("ggml_vec_dot_{}_{}_generic", wanted.name, operand.name));
        // SAFETY: both are `vec_dot` functions.
        Ok(unsafe { self.with_twin(adapters::vec_dot, own, twin, domain) })
    }

    /// The quantisers of a type: its own, and the portable twin.
    ///
    /// # Safety
    /// As of [`kernels`](Self::kernels).
    unsafe fn quantize(self, wanted: &Type, from_float: Option<FromFloat>) -> Vec<PluginKernel> {
        let Some(from_float) = from_float else { return Vec::new() };
        let domain = Domain::of(Operation::Quantize, wanted.format).requiring(whole_blocks(wanted));
        // SAFETY: as in `dequantize`.
        let own = unsafe { std::mem::transmute::<FromFloat, Function>(from_float) };
        let twin = self.tables.function(&format!("quantize_row_{}_generic", wanted.name));
        // SAFETY: both are `from_float` functions.
        unsafe { self.with_twin(adapters::from_float, own, twin, domain) }
    }

    /// A kernel, and its twin where there is one.
    ///
    /// # Safety
    /// The functions are of the type that the adapter takes them for.
    unsafe fn with_twin(
        self,
        adapter: Adapter,
        own: Function,
        twin: Option<Function>,
        domain: Domain,
    ) -> Vec<PluginKernel> {
        let functions = [(NAME, Some(own)), (TWIN, twin)];
        // SAFETY: as the caller says.
        let kernel = |(name, function)| Some(unsafe { self.kernel((adapter, function?), name, domain) });
        functions.into_iter().filter_map(kernel).collect()
    }

    /// # Safety
    /// As of [`with_twin`](Self::with_twin).
    unsafe fn kernel(
        self,
        function: (Adapter, Function),
        name: &'static str,
        domain: Domain,
    ) -> PluginKernel {
        // SAFETY: as the caller says.
        unsafe { PluginKernel::through(function, name, domain, (self.library, self.features)) }
    }

    /// The least weight that kernels of a type are sent.
    fn weight_min(self, wanted: &Type) -> i8 {
        if integers::layout(wanted.format).is_some() { self.options.weight_min } else { i8::MIN }
    }
}

/// What kernels of vectors require.
fn whole_blocks(wanted: &Type) -> Requirements {
    Requirements {
        cols_multiple: wanted.format.block_len as u32,
        alignment: wanted.alignment,
        ..Requirements::NONE
    }
}

/// What the oracle decodes blocks by.
///
/// # Safety
/// The function is one that decodes blocks of as many elements as the slices have that it is called with.
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
