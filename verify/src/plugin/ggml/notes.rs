//! What a report says of the kernels of a ggml library beside their verdicts.

use crate::domain::Domain;
use crate::format;
use crate::library::{GgmlOptions, Library, Source};
use crate::operation::Operation;

/// What was left out, and what was held to the library itself, of kernels of these domains. Nothing of another library.
pub(in crate::plugin) fn notes(library: &Library, domains: &[Domain]) -> Vec<String> {
    let Source::Ggml(GgmlOptions { activation_min, weight_min, .. }) = &library.source else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    if *activation_min > i8::MIN && domains.iter().any(|domain| domain.operation == Operation::Dot) {
        notes.push(format!(
            "activations are {activation_min} or more, as ggml's own quantisers write them; `--activation-min -128` tries -128 too"
        ));
    }
    if *weight_min > i8::MIN && domains.iter().any(|domain| domain.requirements.weight_min > i8::MIN) {
        notes.push(format!(
            "weights of q8_0 are {weight_min} or more; files may hold less: `--weights-min -128` tries -128 too"
        ));
    }
    let mut own: Vec<&str> = domains
        .iter()
        .map(|domain| domain.format)
        .filter(|format| format::is_of_library(format))
        .map(|format| format.name)
        .collect();
    own.dedup();
    if !own.is_empty() {
        notes.push(format!(
            "no description is known of {}: these are held to the library's own `to_float`, so that an error which that has too is not seen",
            own.join(", ")
        ));
    }
    notes
}
