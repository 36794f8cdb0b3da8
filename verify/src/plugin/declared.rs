//! A kernel of a library as its worker declares it to the host.

use serde::{Deserialize, Serialize};

use super::abi::PluginKernel;
use crate::activations::Activations;
use crate::domain::Domain;
use crate::format;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::requirements::Requirements;

/// A kernel of a library, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// The name of the format, which host and worker both know.
    pub(super) format: String,
    /// The name of the activations.
    pub(super) activations: String,
    pub(super) requirements: Requirements,
    pub(super) features: Vec<String>,
    pub(super) refuses_wrong_sizes: bool,
    /// Whether it has a step that repacks weights.
    pub(super) prepares: bool,
}

impl Declared {
    pub(super) fn of(kernel: &PluginKernel) -> Self {
        let Domain { operation, format, activations, requirements } = kernel.domain();
        Self {
            name: kernel.name().to_owned(),
            operation,
            format: format.name.to_owned(),
            activations: activations.name.to_owned(),
            requirements,
            features: kernel.required_features().iter().map(|&feature| feature.to_owned()).collect(),
            refuses_wrong_sizes: kernel.refuses_wrong_sizes(),
            prepares: kernel.prepares(),
        }
    }

    /// Its domain; `None` if this process does not know the formats.
    pub(super) fn domain(&self) -> Option<Domain> {
        let format = format::find(&self.format)?;
        let activations = Activations::find(&self.activations)?;
        Some(Domain::of(self.operation, format).with(activations).requiring(self.requirements))
    }
}

/// Drawn ones.
#[cfg(test)]
pub(super) fn drawn() -> impl proptest::strategy::Strategy<Value = Declared> {
    use proptest::collection::vec;
    use proptest::prelude::*;

    let words =
        ["", "cols:256,no_scales", "max_batch:4,min:-127,rounds_x:row", "max_code:2,finite,rounds_x:32"];
    let requirements = proptest::sample::select(words.to_vec()).prop_map(|words| match words {
        "" => Requirements::NONE,
        words => words.parse().expect("these are requirements"),
    });
    let formats = (
        proptest::sample::select(format::ALL.to_vec()),
        proptest::sample::select(Operation::ALL.to_vec()),
        requirements,
    );
    let rest = (any::<String>(), vec(any::<String>(), 0..3), any::<[bool; 2]>());
    (formats, rest).prop_map(
        |((format, operation, requirements), (name, features, [refuses_wrong_sizes, prepares]))| Declared {
            name,
            operation,
            format: format.name.to_owned(),
            activations: "q8_0".to_owned(),
            requirements,
            features,
            refuses_wrong_sizes,
            prepares,
        },
    )
}
