//! What the help of every subcommand shares: groups of options, values with their units, examples and exit codes.

use std::time::Duration;

/// The end of a subcommand's help: examples, and its exit codes. The code of bad usage and those of signals belong to each.
macro_rules! help_end {
    ($($example:literal),+; $($code:literal => $meaning:literal),+ $(; $last:literal => $last_meaning:literal)?) => {
        concat!(
            "Examples:", $("\n  ", $example),+,
            "\n\nExit codes:", $("\n  ", $code, "      ", $meaning),+,
            "\n  2      bad usage or bad input",
            $("\n  ", $last, "      ", $last_meaning,)?
            "\n  128+N  signal N ended it before anything was found (130: Ctrl-C)"
        )
    };
}
pub(crate) use help_end;

/// Options that choose kernels.
pub(crate) const KERNELS: &str = "Kernels";

/// Options that choose cases, and how much is done.
pub(crate) const RUN: &str = "Run";

/// Options about what is printed or written.
pub(crate) const REPORTS: &str = "Reports";

/// The option of the seed.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Seed {
    /// Seed of the random cases, a whole number [default: a new one for each run; the last line shows it]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = whole::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    seed: Option<u64>,
}

impl Seed {
    /// The seed that was given, or a new one.
    pub(crate) fn value(&self) -> u64 {
        self.seed.unwrap_or_else(fresh_seed)
    }
}

/// A seed that people can type.
pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64 % 1_000_000_007)
}

/// A time with its unit, longer than zero.
///
/// # Errors
/// What to give in its place.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("the time must be longer than 0".to_owned()),
        Ok(time) => Ok(time),
        Err(_) => Err("give a number with its unit, such as 500ms, 30s, 5m or 8h".to_owned()),
    }
}

/// A whole number from 1 on.
///
/// # Errors
/// What to give in its place.
pub(crate) fn at_least_one<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|&number: &u64| number > 0);
    number.and_then(|number| number.try_into().ok()).ok_or_else(|| "give a whole number from 1 on".to_owned())
}

/// A whole number from 0 on.
///
/// # Errors
/// What to give in its place.
pub(crate) fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().and_then(|number: u64| number.try_into().ok());
    number.ok_or_else(|| "give a whole number from 0 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_answered_with_what_fits() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        for (text, part) in [("5", "its unit"), ("soon", "its unit"), ("0s", "longer than 0")] {
            assert!(time(text).is_err_and(|why| why.contains(part)), "{text}");
        }
        assert_eq!((at_least_one::<u64>("1"), whole::<u64>("0")), (Ok(1), Ok(0)));
        for text in ["0", "-1", "x", "", "0x10", "65536"] {
            assert!(at_least_one::<u16>(text).is_err_and(|why| why.contains("from 1 on")), "{text}");
        }
        assert!(whole::<u64>("-1").is_err_and(|why| why.contains("from 0 on")));
    }
}
