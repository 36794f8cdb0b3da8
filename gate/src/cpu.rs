//! Which CPU this is: a bar against a limit of the machine holds on the CPUs that it was measured on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A model of CPU, as CPUID numbers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Who makes it: `AuthenticAMD`, `GenuineIntel`.
    pub vendor: String,
    /// The family, with the extended family added.
    pub family: u32,
    /// The model, with the extended model in its upper bits.
    pub model: u32,
}

impl Cpu {
    /// That of this machine. `None` where Linux does not say, as on other architectures.
    pub fn this() -> Option<Self> {
        Self::of(&info()?)
    }

    /// That of a text like `/proc/cpuinfo`.
    fn of(info: &str) -> Option<Self> {
        Some(Self {
            vendor: field(info, "vendor_id")?.to_owned(),
            family: field(info, "cpu family")?.parse().ok()?,
            model: field(info, "model")?.parse().ok()?,
        })
    }
}

/// The name of this CPU, as its maker gives it.
pub(super) fn name() -> Option<String> {
    field(&info()?, "model name").map(str::to_owned)
}

fn info() -> Option<String> {
    std::fs::read_to_string("/proc/cpuinfo").ok()
}

/// The value of the first line `NAME : VALUE` in a text like `/proc/cpuinfo`.
fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.find_map(|(found, value)| (found.trim() == name).then_some(value.trim()))
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vendor, family, model } = self;
        write!(f, "{vendor} family {family} model {model}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
                        model name\t: AMD EPYC 9R14\n\nprocessor\t: 1\nmodel\t\t: 18\n";

    #[test]
    fn a_cpu_is_read_from_the_text_of_linux() {
        let cpu = Cpu::of(INFO).expect("all three are there");
        assert_eq!(cpu, Cpu { vendor: "AuthenticAMD".to_owned(), family: 25, model: 17 });
        assert_eq!(cpu.to_string(), "AuthenticAMD family 25 model 17");
        assert_eq!(field(INFO, "model name"), Some("AMD EPYC 9R14"));
    }

    #[test]
    fn a_text_without_these_fields_is_no_cpu() {
        assert_eq!(Cpu::of(&INFO.replace("cpu family", "CPU implementer")), None);
        assert_eq!(Cpu::of(""), None);
    }
}
