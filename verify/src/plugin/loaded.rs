//! A shared library as the host knows it: its kernels, which only a worker can call, and one case at a time.

use super::declared::Declared;
use super::host::{Answer, Death, Ending, Host, PluginError, Worker, exists};
use super::message::{Beside, Request, Response};
use crate::case::Case;
use crate::domain::Domain;
use crate::examiner::Examined;
use crate::features;
use crate::kernel::{Arguments, Kernel, Outcome, missing_features};
use crate::library::Library;
use crate::property::{Cause, Failure, Property};

/// A library.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) host: Host,
    /// In the order of the library.
    pub(super) kernels: Vec<KernelHandle>,
}

/// A kernel of a library, as the host knows it: it cannot be called here.
#[derive(Debug)]
pub(super) struct KernelHandle {
    name: String,
    pub(super) library: Library,
    pub(super) domain: Domain,
    features: Vec<&'static str>,
    refuses_wrong_sizes: bool,
    prepares: bool,
    /// Its place among the kernels of the library.
    pub(super) place: usize,
}

impl KernelHandle {
    /// The kernel that the worker has at `place`.
    fn of(declared: Declared, place: usize, library: &Library) -> Result<Self, PluginError> {
        let unknown = || PluginError::Harness {
            library: library.to_string(),
            why: format!("the worker's kernel {place} is not understood: {declared:?}"),
        };
        let domain = declared.domain().ok_or_else(unknown)?;
        let features =
            declared.features.iter().map(|feature| features::named(feature)).collect::<Result<_, _>>();
        let features = features.map_err(|_| unknown())?;
        let Declared { name, refuses_wrong_sizes, prepares, .. } = declared;
        Ok(Self { name, library: library.clone(), domain, features, refuses_wrong_sizes, prepares, place })
    }

    /// Whether this CPU has all that it needs.
    pub(super) fn can_run(&self) -> bool {
        missing_features(&self.features).is_empty()
    }

    /// Why it cannot be called here, if so.
    pub(super) fn why_not(&self) -> Option<String> {
        let missing = missing_features(&self.features);
        (!missing.is_empty()).then(|| format!("this CPU lacks {}", missing.join(", ")))
    }
}

impl Kernel for KernelHandle {
    fn name(&self) -> &str {
        &self.name
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn required_features(&self) -> &[&str] {
        &self.features
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn library(&self) -> Option<&Library> {
        Some(&self.library)
    }

    /// How many bytes a call needs only a worker can say.
    fn prepared_bytes(&self, _: &Arguments<'_>) -> Option<usize> {
        self.prepares.then_some(0)
    }

    fn call(&self, _: Arguments<'_>) -> Outcome {
        Outcome::Unsupported
    }
}

impl Plugin {
    pub(super) fn open(host: Host) -> Result<Self, PluginError> {
        exists(&host.library.path)?;
        let (loaded, _) = host.start()?;
        let Response::Loaded { kernels } = loaded else {
            unreachable!("a worker that starts has loaded its library")
        };
        let kernel = |(place, declared)| KernelHandle::of(declared, place, &host.library);
        let kernels = kernels.into_iter().enumerate().map(kernel).collect::<Result<_, _>>()?;
        Ok(Self { kernels, host })
    }

    /// Examines a kernel by a case in a new process. What was not the kernel's doing is tried once more: what happens to both is the
    /// kernel's. `beside` is looked for as well.
    pub(super) fn examine(
        &self,
        place: usize,
        earlier: &[(u64, Case)],
        case: &Case,
        beside: Beside,
    ) -> Result<Examined, PluginError> {
        let once = || self.examine_in(&mut None, place, earlier, case, beside);
        match once()? {
            Ended::Examined(examined) => Ok(examined),
            Ended::Outside(_) => match once()? {
                Ended::Examined(examined) => Ok(examined),
                Ended::Outside(failure) => Ok(Examined::failed(failure)),
            },
        }
    }

    /// Examines a kernel by a case, in the worker that is there or a new one.
    pub(super) fn examine_in(
        &self,
        worker: &mut Option<Worker>,
        place: usize,
        earlier: &[(u64, Case)],
        case: &Case,
        beside: Beside,
    ) -> Result<Ended, PluginError> {
        let mut alive = match worker.take() {
            Some(alive) => alive,
            None => self.host.start()?.1,
        };
        let request = Request::Examine {
            kernel: place,
            earlier: earlier.to_vec(),
            case: Box::new(case.clone()),
            beside,
        };
        match alive.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Examined(examined)) => {
                *worker = Some(alive);
                Ok(Ended::Examined(examined))
            }
            Answer::Response(Response::Failed(why)) => Err(PluginError::Load(why)),
            Answer::Response(other) => Err(alive.unexpected(&other)),
            Answer::Death(Death { step, ending, .. }) => {
                let is_last = step == earlier.iter().map(|(times, _)| times).sum::<u64>();
                match ending {
                    // An earlier case is not the one in question.
                    Ending::Kernel(failure) if is_last => Ok(Ended::Examined(Examined::failed(failure))),
                    Ending::Kernel(_) => Ok(Ended::Examined(Examined::nothing())),
                    Ending::Outside(failure) => Ok(Ended::Outside(failure)),
                    Ending::NoMemory(why) | Ending::Harness(why) => Err(self.fault(why)),
                }
            }
        }
    }

    fn fault(&self, why: String) -> PluginError {
        PluginError::Harness { library: self.host.library.to_string(), why }
    }

    /// The error that a death is where nothing was examined.
    pub(super) fn broken_off(&self, death: Death) -> PluginError {
        match death.ending {
            Ending::Kernel(failure) | Ending::Outside(failure) => PluginError::Load(failure.detail()),
            Ending::NoMemory(why) | Ending::Harness(why) => self.fault(why),
        }
    }
}

/// How an examination ended.
pub(super) enum Ended {
    /// With a result.
    Examined(Examined),
    /// By a signal that may have come from outside.
    Outside(Failure),
}

impl Examined {
    fn failed(failure: Failure) -> Self {
        Self { skipped: None, properties: vec![failure.property], failures: vec![failure] }
    }

    /// Of a kernel that was not called, and why.
    pub(super) fn skipped(why: String) -> Self {
        Self { skipped: Some(why), ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self { skipped: None, properties: Vec::new(), failures: Vec::new() }
    }

    /// The violation of a property by a cause, if there is one.
    pub(super) fn violation(self, (property, cause): (Property, Cause)) -> Option<Failure> {
        self.failures.into_iter().find(|failure| failure.shows(property, cause))
    }
}
