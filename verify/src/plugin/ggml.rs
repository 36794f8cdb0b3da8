//! The kernels of a build of ggml, straight out of its tables of types.

mod adapters;
mod kernels;
mod notes;
mod tables;

use super::abi::{LoadError, PluginKernel, open};
use crate::format;
use crate::format::ggml::{TYPES, Type};
use crate::kernel::missing_features;
use crate::library::{GgmlOptions, Library};
use kernels::Origin;
pub(super) use notes::notes;
use tables::Tables;

/// The kernels of the types of `library` that are wanted. The formats without a description are decoded by it from now on.
///
/// # Safety
/// As of [`load_here`](super::load_here).
///
/// # Errors
/// If it is no build of ggml, or one whose types are not those that are known; or if a type that is wanted is not there.
pub(super) unsafe fn load(library: &Library, options: &GgmlOptions) -> Result<Vec<PluginKernel>, LoadError> {
    let error = |why: String| LoadError::Ggml { path: library.to_string(), why };
    format::know_ggml().map_err(|problem| error(problem.to_string()))?;
    // SAFETY: the caller answers for the library.
    let opened = unsafe { open(library) }.map_err(with_hint)?;
    // SAFETY: as above.
    let tables = unsafe { Tables::of(opened) }.map_err(error)?;
    let features = tables.features();
    if missing_features(&features).is_empty() {
        // SAFETY: this CPU has all that the code uses.
        unsafe { tables.init() };
    }
    let origin = Origin { tables: &tables, library, features: &features, options };
    let mut kernels = Vec::new();
    for wanted in wanted(&tables, &options.types).map_err(error)? {
        // SAFETY: the caller answers for the library.
        kernels.extend(unsafe { origin.kernels(wanted) }.map_err(error)?);
    }
    Ok(kernels)
}

/// The types of the library that are wanted: all if none is named.
fn wanted(tables: &Tables, names: &[String]) -> Result<Vec<&'static Type>, String> {
    let there: Vec<&Type> = TYPES.iter().filter(|known| tables.have(known)).collect();
    let is_called = |known: &Type, name: &String| known.name.eq_ignore_ascii_case(name);
    if let Some(name) = names.iter().find(|name| !there.iter().any(|known| is_called(known, name))) {
        let has: Vec<&str> = there.iter().map(|known| known.name).collect();
        return Err(format!("it has no type `{name}` that this qk256 knows; it has {}", has.join(", ")));
    }
    if there.is_empty() {
        return Err(
            "it exports the functions of no type: this qk256 finds a type by its `dequantize_row_...`"
                .to_owned(),
        );
    }
    let is_wanted = |known: &&Type| names.is_empty() || names.iter().any(|name| is_called(known, name));
    Ok(there.into_iter().filter(is_wanted).collect())
}

/// What to do about a library that is missing beside another.
fn with_hint(error: LoadError) -> LoadError {
    match error {
        LoadError::NotLoaded { path, why } if why.contains("cannot open shared object file") => {
            let hint = "put that library into the same folder, or its folder into LD_LIBRARY_PATH";
            LoadError::NotLoaded { path, why: format!("{why}: {hint}") }
        }
        other => other,
    }
}
