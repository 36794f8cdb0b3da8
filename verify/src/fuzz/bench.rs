//! The kernels that targets examine, and how.

use super::{Domains, Target, check_text};
use crate::case::Case;
use crate::finding::Finding;
use crate::format::Format;
use crate::kernel::{Kernel, can_run};
use crate::library::Library;
use crate::plugin::{LoadError, load_here};
use crate::registry;
use crate::trial::Harness;

/// The kernels that targets examine, and what is kept from one input to the next.
#[derive(Debug)]
pub struct Bench {
    groups: Vec<Group>,
    domains: Domains,
}

/// Kernels that nothing but name and domain tells apart, such as those of one library, and the harness that knows them by these.
#[derive(Debug)]
struct Group {
    harness: Harness,
    kernels: Vec<Box<dyn Kernel>>,
}

impl Bench {
    /// The kernels of this project that this CPU can run.
    pub fn own() -> Self {
        Self { groups: vec![Group::of(registry::kernels())], domains: Domains::own() }
    }

    /// The kernels of shared libraries that this CPU can run, loaded into this process for good; of these formats only, if some are named.
    ///
    /// # Safety
    /// As of [`load_here`], of each library.
    ///
    /// # Errors
    /// If one is no plugin.
    pub unsafe fn of_libraries(
        libraries: &[Library],
        formats: &[&'static Format],
    ) -> Result<Self, LoadError> {
        let mut groups = Vec::new();
        for library in libraries {
            // SAFETY: the caller answers for the library.
            let mut kernels = unsafe { load_here(library) }?;
            kernels.retain(|kernel| formats.is_empty() || formats.contains(&kernel.domain().format));
            groups.push(Group::of(kernels));
        }
        let kernels = groups.iter().flat_map(|group| &group.kernels);
        let domains = Domains::of(kernels.map(Box::as_ref));
        Ok(Self { groups, domains })
    }

    /// The same and another kernel, which is examined by the cases of its domain that are drawn anyway.
    #[must_use]
    pub fn with(mut self, kernel: Box<dyn Kernel>) -> Self {
        self.groups.push(Group::of(vec![kernel]));
        self
    }

    /// What cases are drawn from.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// Feeds `data` to `target`. The guarded memory stays for the next call.
    ///
    /// # Panics
    /// With every finding, shrunk; each ends in its `qk256 replay` line.
    pub fn run(&mut self, target: Target, data: &[u8]) {
        if target == Target::CaseText {
            return check_text(data);
        }
        if let Some(case) = self.domains.case(target, data) {
            let findings: Vec<String> = self.groups.iter_mut().flat_map(|group| group.check(&case)).collect();
            assert!(findings.is_empty(), "drawn: {case}\n{}", findings.join("\n"));
        }
    }
}

impl Group {
    /// Those that this CPU can run.
    fn of(mut kernels: Vec<Box<dyn Kernel>>) -> Self {
        kernels.retain(|kernel| can_run(kernel.as_ref()));
        Self { harness: Harness::new(None), kernels }
    }

    /// Examines every kernel of the case's domain: the findings, shrunk.
    fn check(&mut self, case: &Case) -> Vec<String> {
        let Self { harness, kernels } = self;
        let kernels: Vec<_> = kernels.iter().filter(|kernel| kernel.domain() == case.domain()).collect();
        if kernels.is_empty() {
            return Vec::new();
        }
        let prepared = match harness.prepare(case) {
            Ok(prepared) => prepared,
            Err(error) => panic!("a drawn case has no data: {error}\n  case:    {case}"),
        };
        let mut findings = Vec::new();
        for kernel in kernels {
            for failure in harness.examine(kernel.as_ref(), &prepared).failures {
                let finding = Finding::new(kernel.as_ref(), case, None, failure);
                findings.push(harness.minimize(kernel.as_ref(), &finding).to_string());
            }
        }
        findings
    }
}
