//! What targets draw their cases from: the domains of the kernels that they examine.

use arbitrary::Unstructured;

use super::{RUN_OUT, Target, is_small, legal};
use crate::case::Case;
use crate::domain::Domain;
use crate::kernel::Kernel;
use crate::operation::Operation;

/// The domains that each target draws from. A target that draws from none calls no kernel.
#[derive(Clone, Debug)]
pub struct Domains(Vec<(Target, Domain)>);

/// Our operations of [`Target::Arguments`], as many as when its seeds were made.
const WITH_WRONG_SIZES: [Operation; 6] = [
    Operation::Unpack,
    Operation::Lut,
    Operation::Dequantize,
    Operation::Gemv,
    Operation::GemvFixed,
    Operation::Quantize,
];

impl Domains {
    /// Those for the kernels of this project. Their order gives the seeds in `corpus/` their meaning.
    pub fn own() -> Self {
        let legal = Target::ALL.into_iter().filter_map(|target| Some((target, target.legal()?.0)));
        let legal = legal.flat_map(|(target, operation)| {
            Domain::drawn(operation).into_iter().map(move |domain| (target, domain))
        });
        let wrong = WITH_WRONG_SIZES.map(|operation| (Target::Arguments, Domain::new(operation)));
        Self(legal.chain(wrong).collect())
    }

    /// Those of these kernels: each target draws what at least one of them takes.
    pub fn of<'a>(kernels: impl IntoIterator<Item = &'a dyn Kernel>) -> Self {
        let mut domains = Vec::new();
        for kernel in kernels {
            for target in targets_of(kernel) {
                if !domains.contains(&(target, kernel.domain())) {
                    domains.push((target, kernel.domain()));
                }
            }
        }
        Self(domains)
    }

    /// The targets that call a kernel, each once.
    pub fn targets(&self) -> Vec<Target> {
        Target::ALL.into_iter().filter(|&target| self.of_target(target).next().is_some()).collect()
    }

    /// Demands that each of these targets calls a kernel.
    ///
    /// # Errors
    /// If one calls none, or there is none.
    pub fn require(&self, targets: &[Target]) -> Result<(), NoKernel> {
        let missing = targets.iter().find(|&&target| self.of_target(target).next().is_none());
        match missing {
            None if !targets.is_empty() => Ok(()),
            target => Err(NoKernel { target: target.copied(), targets: self.targets() }),
        }
    }

    /// The case that a target makes of `data`, if it makes one of it. The last byte chooses the domain, where there are several.
    pub fn case(&self, target: Target, data: &[u8]) -> Option<Case> {
        let Some((_, scaled)) = target.legal() else { return self.wrong_sizes(target, data) };
        let number = usize::from(data.last().copied().unwrap_or(0));
        let domain = self.of_target(target).nth(number % self.of_target(target).count().max(1))?;
        legal(domain, scaled, data).filter(is_small)
    }

    /// A case with wrong sizes, which [`Target::Arguments`] makes.
    fn wrong_sizes(&self, target: Target, data: &[u8]) -> Option<Case> {
        let domains: Vec<Domain> = self.of_target(target).collect();
        if domains.is_empty() {
            return None;
        }
        let draw = |u: &mut Unstructured<'_>| {
            let domain = *u.choose(&domains)?;
            let scaled = domain.is_always_scaled() || (domain.may_be_scaled() && u.arbitrary()?);
            Case::draw_wrong_sizes(domain, scaled, u)
        };
        Some(draw(&mut Unstructured::new(data)).expect(RUN_OUT))
    }

    fn of_target(&self, target: Target) -> impl Iterator<Item = Domain> {
        self.0.iter().filter(move |(of, _)| *of == target).map(|&(_, domain)| domain)
    }
}

/// The targets that call a kernel.
fn targets_of(kernel: &dyn Kernel) -> impl Iterator<Item = Target> {
    let domain = kernel.domain();
    let plain = !domain.is_always_scaled();
    let scaled = domain.is_always_scaled() || domain.may_be_scaled();
    let legal = [(plain, false), (scaled, true)].into_iter().filter(|&(is_drawn, _)| is_drawn);
    let legal = legal.map(move |(_, scaled)| Target::of(domain.operation, scaled));
    legal.chain(kernel.refuses_wrong_sizes().then_some(Target::Arguments))
}

/// A target calls none of the kernels.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the libraries have no kernel for {}; {}", wanted(*target), others(targets))]
pub struct NoKernel {
    /// The target; `None` if no target calls a kernel.
    target: Option<Target>,
    /// Those that do.
    targets: Vec<Target>,
}

fn wanted(target: Option<Target>) -> String {
    target.map_or("any fuzz target".to_owned(), |target| format!("the fuzz target `{}`", target.name()))
}

fn others(targets: &[Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|target| target.name()).collect();
    match &names[..] {
        [] => "none of theirs is chosen and can run on this CPU: see `qk256 list --lib FILE`".to_owned(),
        names => format!("they have kernels for {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Q4_0;
    use crate::kernel::{KernelFn, Outcome};
    use crate::requirements::Requirements;

    fn kernel(domain: Domain, refuses_wrong_sizes: bool) -> KernelFn {
        KernelFn {
            name: "mine",
            domain,
            required_features: &[],
            refuses_wrong_sizes,
            call: |_| Outcome::Done,
        }
    }

    fn names(domain: Domain, refuses_wrong_sizes: bool) -> Vec<&'static str> {
        let kernel = kernel(domain, refuses_wrong_sizes);
        let domains = Domains::of([&kernel as &dyn Kernel]);
        domains.targets().into_iter().map(Target::name).collect()
    }

    #[test]
    fn a_kernel_is_for_the_targets_whose_cases_it_takes() {
        let gemv = Domain::new(Operation::Gemv);
        let requiring = |words: &str| gemv.requiring(words.parse().expect("these are requirements"));
        assert_eq!(names(gemv, true), ["gemv", "gemv_scaled", "arguments"]);
        assert_eq!(names(requiring("no_scales"), false), ["gemv"]);
        assert_eq!(names(requiring("scales"), false), ["gemv_scaled"]);
        assert_eq!(names(Domain::of(Operation::Gemv, &Q4_0), false), ["gemv"]);
        assert_eq!(names(Domain::of(Operation::Dequantize, &Q4_0), false), ["dequantize"]);
        assert_eq!(names(Domain::new(Operation::Gemm), false), ["gemm"]);
    }

    #[test]
    fn cases_keep_to_the_requirements_of_the_kernel_also_where_its_smallest_shape_is_large() {
        let requirements: Requirements =
            "cols:4096,rows:8,no_scales".parse().expect("these are requirements");
        let wide = kernel(Domain::of(Operation::Gemv, &Q4_0).requiring(requirements), false);
        let domains = Domains::of([&wide as &dyn Kernel]);
        let target = Target::of(Operation::Gemv, false);
        let cases = (0..2000_u32).filter_map(|number| {
            let data: Vec<u8> = number.wrapping_mul(0x9e37_79b9).to_le_bytes().repeat(8);
            domains.case(target, &data)
        });
        let (mut count, mut largest) = (0, 0);
        for case in cases {
            assert!(case.cols % 4096 == 0 && case.rows % 8 == 0, "{case}");
            assert_eq!(case.domain(), wide.domain(), "{case}");
            (count, largest) = (count + 1, largest.max(case.rows * case.cols));
        }
        assert!(count > 100 && largest >= 4096 * 8, "{count} cases of at most {largest} elements");
    }
}
