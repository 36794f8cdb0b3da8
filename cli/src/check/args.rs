//! The options of `qk256 check`.

use std::path::PathBuf;
use std::time::Duration;

use qk256_verify::check::{Budget, Plan};

use crate::plugins::Libraries;
use crate::select::Selection;
use crate::usage::{self, KERNELS, REPORTS, RUN, Seed, help_end};

/// Check kernels against exact oracles, then time them against scalar code.
///
/// Without options it checks every kernel of this project that this CPU can run, for 30 seconds, and then times them. Each finding is
/// printed at once, with the command that repeats it. A table with one line for each kernel comes last.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 check                                   every kernel that this CPU can run",
    "qk256 check --op gemv --kernel avx2 --for 5m  one kernel, for longer",
    "qk256 check --lib ./libkernel.so              the kernels of a shared library",
    "qk256 check --seed 7 --cases 5000             the same cases on every machine";
    "0" => "no findings",
    "1" => "a finding, or something required was not checked"
))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    pub(super) libraries: Libraries,

    /// Number of processes that examine kernels at the same time [default: number of CPU cores]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<usize>,
        allow_negative_numbers = true,
        help_heading = KERNELS
    )]
    pub(super) jobs: Option<usize>,

    /// Fail if a kernel is skipped because the CPU lacks this feature, such as avx2. Can be repeated
    ///
    /// A feature that every chosen kernel with FEATURE needs as well counts too: `--require avx2` also requires fma.
    #[arg(long, value_name = "FEATURE", help_heading = KERNELS)]
    pub(super) require: Vec<String>,

    /// Time for cases, such as 30s, 5m or 8h [default: 20s, and as long as every edge case takes]. The edge cases come first, then
    /// random cases
    ///
    /// The tensors of --weights are checked before, and the speed is measured after; both come on top.
    #[arg(long = "for", value_name = "TIME", value_parser = usage::time, help_heading = RUN)]
    pub(super) time: Option<Duration>,

    /// Number of cases for each operation, instead of a time
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with = "time",
        value_parser = usage::at_least_one::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    pub(super) cases: Option<u64>,

    #[command(flatten)]
    pub(super) seed: Seed,

    /// Number of seeds to draw random cases from: SEED, SEED + 1 and so on. With --cases, each gets that many
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = usage::at_least_one::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    pub(super) seeds: u64,

    /// Also check all 2^32 scales of dequantize, and all one-hot x of gemv up to 1100 columns. Takes minutes
    #[arg(long, help_heading = RUN)]
    pub(super) exhaustive: bool,

    /// Also check vectors of 2^31 and 2^32 elements, first. Takes seconds for each kernel and 20 GiB of address space
    ///
    /// They take little memory: the same pages are mapped again and again.
    #[arg(long, help_heading = RUN)]
    pub(super) huge: bool,

    /// Also quantise and check every 2-D f32, f16 or bf16 tensor of this safetensors file
    #[arg(long, value_name = "FILE", help_heading = RUN)]
    pub(super) weights: Option<PathBuf>,

    /// Stop at the first finding. Other workers may still report what they find until they are stopped
    #[arg(long, visible_alias = "stop-on-finding", help_heading = RUN)]
    pub(super) fail_fast: bool,

    /// Do not measure the speed
    #[arg(long, help_heading = RUN)]
    pub(super) no_speed: bool,

    /// Also show what was checked of each kernel: properties, order of summation, case of the worst error
    #[arg(long, short, help_heading = REPORTS)]
    pub(super) verbose: bool,

    /// Write the report to this file as JSON. `-` is standard output; the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub(super) json: Option<PathBuf>,

    /// Write the report to this file as JUnit XML. `-` is standard output, as for --json
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub(super) junit: Option<PathBuf>,
}

/// How long a run goes on where nothing is asked for.
const USUAL_TIME: Duration = Duration::from_secs(20);

impl Args {
    pub(super) fn plan(&self) -> Plan {
        let seed = self.seed.value();
        let time = Budget::Time(self.time.unwrap_or(USUAL_TIME));
        let budget = self.cases.map_or(time, Budget::Cases);
        let edges = self.time.is_none() && self.cases.is_none();
        Plan {
            edges,
            seeds: self.seeds,
            exhaustive: self.exhaustive,
            huge: self.huge,
            ..Plan::new(seed, budget)
        }
    }
}
