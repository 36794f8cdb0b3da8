//! The tables of types of a build of ggml, and the functions that it exports.

use std::ffi::{CStr, c_char, c_int};

use libloading::os::unix::Library as Loaded;

use super::adapters::{FromFloat, ToFloat, VecDot};
use crate::activations::{Activations, Q8_0, Q8_1, Q8_K};
use crate::format::ggml::Type;
use crate::plugin::abi::Function;

/// `ggml_type_traits`, field by field as in ggml.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    type_name: *const c_char,
    blck_size: i64,
    blck_size_interleave: i64,
    type_size: usize,
    /// 1 or 0 in a table of this layout.
    is_quantized: u8,
    pub(super) to_float: Option<ToFloat>,
    from_float_ref: Option<FromFloat>,
}

/// `ggml_type_traits_cpu`, field by field as in ggml-cpu.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTraits {
    pub(super) from_float: Option<FromFloat>,
    pub(super) vec_dot: Option<VecDot>,
    vec_dot_type: c_int,
    nrows: i64,
}

/// A type that activations have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    id: c_int,
    /// What ggml calls it.
    pub(super) name: &'static str,
    pub(super) kind: &'static Activations,
    /// Of a block, in bytes.
    pub(super) alignment: u32,
}

/// The types that activations have.
const OPERANDS: [Operand; 3] = [
    Operand { id: 8, name: "q8_0", kind: &Q8_0, alignment: 2 },
    Operand { id: 9, name: "q8_1", kind: &Q8_1, alignment: 4 },
    Operand { id: 15, name: "q8_K", kind: &Q8_K, alignment: 4 },
];

/// What a library says that its code uses, and what Rust calls that.
const FEATURES: [(&CStr, &str); 12] = [
    (c"ggml_cpu_has_sse3", "sse3"),
    (c"ggml_cpu_has_ssse3", "ssse3"),
    (c"ggml_cpu_has_avx", "avx"),
    (c"ggml_cpu_has_avx2", "avx2"),
    (c"ggml_cpu_has_f16c", "f16c"),
    (c"ggml_cpu_has_fma", "fma"),
    (c"ggml_cpu_has_bmi2", "bmi2"),
    (c"ggml_cpu_has_avx_vnni", "avxvnni"),
    (c"ggml_cpu_has_avx512", "avx512f"),
    (c"ggml_cpu_has_avx512_vbmi", "avx512vbmi"),
    (c"ggml_cpu_has_avx512_vnni", "avx512vnni"),
    (c"ggml_cpu_has_avx512_bf16", "avx512bf16"),
];

/// The tables of a library.
#[derive(Debug)]
pub(super) struct Tables {
    library: &'static Loaded,
    traits: unsafe extern "C" fn(c_int) -> *const Traits,
    cpu_traits: unsafe extern "C" fn(c_int) -> *const CpuTraits,
    init: unsafe extern "C" fn(),
}

impl Tables {
    /// Looks the tables up.
    ///
    /// # Safety
    /// If the library has functions of these names, they are those of ggml.
    ///
    /// # Errors
    /// The function that is missing.
    pub(super) unsafe fn of(library: &'static Loaded) -> Result<Self, String> {
        let missing = |name: &str| {
            format!(
                "it exports no `{name}`, and neither do the libraries that it needs: name the libggml-cpu of a shared build"
            )
        };
        // SAFETY: ggml.h gives the name this type.
        let traits = unsafe { library.get(b"ggml_get_type_traits") };
        // SAFETY: ggml-cpu.h gives the name this type.
        let cpu_traits = unsafe { library.get(b"ggml_get_type_traits_cpu") };
        // SAFETY: as above.
        let init = unsafe { library.get(b"ggml_cpu_init") };
        Ok(Self {
            library,
            traits: *traits.map_err(|_| missing("ggml_get_type_traits"))?,
            cpu_traits: *cpu_traits.map_err(|_| missing("ggml_get_type_traits_cpu"))?,
            init: *init.map_err(|_| missing("ggml_cpu_init"))?,
        })
    }

    /// The CPU features that the code of the library uses.
    pub(super) fn features(&self) -> Vec<&'static str> {
        let uses = |name: &CStr| {
            // SAFETY: ggml-cpu.h gives such names this type.
            let asked =
                unsafe { self.library.get::<unsafe extern "C" fn() -> c_int>(name.to_bytes_with_nul()) };
            // SAFETY: the function takes nothing, and returns a constant.
            asked.is_ok_and(|asked| unsafe { asked() } != 0)
        };
        FEATURES.iter().filter(|(name, _)| uses(name)).map(|&(_, feature)| feature).collect()
    }

    /// Fills the tables that products need.
    ///
    /// # Safety
    /// This CPU has the [`features`](Self::features).
    pub(super) unsafe fn init(&self) {
        // SAFETY: the function takes nothing; the caller says that its code can run.
        unsafe { (self.init)() };
    }

    /// Whether the library knows a type. Of a number that it does not know, its tables return garbage or end the process.
    pub(super) fn have(&self, wanted: &Type) -> bool {
        let names = [format!("dequantize_row_{}", wanted.name), format!("quantize_row_{}_ref", wanted.name)];
        names.iter().any(|name| self.function(name).is_some())
    }

    /// The entries of a type that the library knows.
    ///
    /// # Errors
    /// What is not as it is known.
    pub(super) fn entries(&self, wanted: &Type) -> Result<(Traits, CpuTraits), String> {
        // SAFETY: the type is one that the library knows, so that there is an entry.
        let traits = unsafe { (self.traits)(wanted.id) };
        // SAFETY: as above.
        let cpu_traits = unsafe { (self.cpu_traits)(wanted.id) };
        // SAFETY: the entry is one of a table that stays.
        let traits = unsafe { traits.read() };
        // SAFETY: as above.
        let cpu_traits = unsafe { cpu_traits.read() };
        // SAFETY: the first field of an entry is a string that stays.
        let is_named = !traits.type_name.is_null()
            && unsafe { CStr::from_ptr(traits.type_name) }.to_bytes() == wanted.name.as_bytes();
        let format = wanted.format;
        let is_sized = is_named
            && (traits.blck_size, traits.type_size) == (format.block_len as i64, format.block_bytes)
            && traits.is_quantized == 1;
        if !is_sized {
            let what = format!(
                "type {} is not `{}` of {} elements in {} bytes there: the layout of its tables is not one that this qk256 knows",
                wanted.id, wanted.name, format.block_len, format.block_bytes
            );
            return Err(what);
        }
        Ok((traits, cpu_traits))
    }

    /// An exported function, if there is one.
    pub(super) fn function(&self, name: &str) -> Option<Function> {
        let name = std::ffi::CString::new(name).ok()?;
        // SAFETY: whoever calls the function gives it the type that it has.
        let function = unsafe { self.library.get::<Function>(name.as_bytes_with_nul()) };
        function.ok().map(|function| *function)
    }
}

impl CpuTraits {
    /// What weights are multiplied by.
    ///
    /// # Errors
    /// If that is none of the known types.
    pub(super) fn operand(&self) -> Result<Operand, String> {
        let id = self.vec_dot_type;
        let known = OPERANDS.into_iter().find(|operand| operand.id == id);
        known.ok_or_else(|| {
            format!("a `vec_dot` takes activations of type {id}, which this qk256 does not know")
        })
    }
}
