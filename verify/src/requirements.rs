//! What a kernel may require of its callers. What it does not declare is owed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::memory::Placement;

/// The preconditions of a kernel: the harness keeps within them and goes right to their edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Requirements {
    /// What the number of columns is a multiple of.
    pub cols_multiple: u32,
    /// The only numbers of columns that may come, in order, of a kernel that is made for some shapes; `None` where there are others.
    pub cols_list: Option<&'static [u32]>,
    /// What the number of rows is a multiple of.
    pub rows_multiple: u32,
    /// The most columns; `None` where there is no limit.
    pub max_cols: Option<u64>,
    /// The most vectors of a batch; `None` where there is no limit.
    pub max_batch: Option<u32>,
    /// Whether calls have scales, where the format may have separate ones.
    pub scales: ScaleUse,
    /// Whether the last row owns a full stride too.
    pub whole_last_stride: bool,
    /// Whether a row's bits may depend on the number of rows or vectors.
    pub varies_with_rows: bool,
    /// Bytes that the start of each buffer is a multiple of.
    pub alignment: u32,
    /// Bytes past the end of each input that may be read.
    pub over_read: u32,
    /// The largest code that weights may have; `None` where every code may come.
    pub max_code: Option<u8>,
    /// The least value of quantised activations, -128 or -127.
    pub activation_min: i8,
    /// The least weight of a format of 8-bit integers, -128 or -127.
    pub weight_min: i8,
    /// Whether NaN and infinities never come.
    pub finite_only: bool,
    /// Whether f32 activations are rounded to 8 bits inside.
    pub rounds_x: Rounding,
}

/// Whether calls have scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleUse {
    /// Some have, some have not.
    Optional,
    /// All have.
    Required,
    /// None has.
    Never,
}

/// How f32 activations are rounded to 8 bits inside of a kernel: an accuracy class of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// They are not.
    None,
    /// With one scale for N elements.
    Group(u32),
    /// With one scale a row.
    Row,
}

impl Requirements {
    /// Those of a kernel that takes every call.
    pub const NONE: Self = Self {
        cols_multiple: 1,
        cols_list: None,
        rows_multiple: 1,
        max_cols: None,
        max_batch: None,
        scales: ScaleUse::Optional,
        whole_last_stride: false,
        varies_with_rows: false,
        alignment: 1,
        over_read: 0,
        max_code: None,
        activation_min: i8::MIN,
        weight_min: i8::MIN,
        finite_only: false,
        rounds_x: Rounding::None,
    };

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// The next larger number of rows that may come.
    pub fn rows(&self, rows: usize) -> usize {
        fitting(rows, self.rows_multiple as usize, usize::MAX)
    }

    /// Vectors that may come instead of `batch`.
    pub fn batch(&self, batch: usize) -> usize {
        batch.min(self.max_batch.map_or(usize::MAX, |most| most as usize))
    }

    /// Columns that may come instead of `cols`, which are a multiple of `unit` too: the next larger ones, or the most. Of a list in
    /// which nothing else that is required leaves any, none counts.
    pub fn cols(&self, cols: usize, unit: usize) -> usize {
        let unit = least_common_multiple(self.cols_multiple as usize, unit);
        let most = self.max_cols.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let listed = || {
            let all = self.cols_list.unwrap_or_default().iter().map(|&cols| cols as usize);
            all.filter(|&cols| cols.is_multiple_of(unit) && cols <= most)
        };
        let of_list = listed().find(|&listed| listed >= cols).or_else(|| listed().next_back());
        of_list.unwrap_or_else(|| fitting(cols, unit, most))
    }

    /// Where a buffer of elements of `width` bytes lies that is asked to lie here: as near to that as what is required lets it.
    pub(crate) fn place(&self, placement: Placement, width: usize, is_output: bool) -> Placement {
        let (alignment, over_read) =
            (self.alignment as usize, if is_output { 0 } else { self.over_read as usize });
        match placement {
            Placement::EndFlush if alignment > 1 || over_read > 0 => {
                Placement::NearEnd { alignment: alignment.max(width), over_read }
            }
            Placement::StartFlush { offset } => {
                Placement::StartFlush { offset: offset.next_multiple_of(alignment) }
            }
            other => other,
        }
    }

    /// Each requirement as a word of the text form.
    fn words(&self) -> Vec<String> {
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}:{value}"));
        let flag = |name: &str, is_set: bool| is_set.then(|| name.to_owned());
        let above = |value: u32, none: u32| (value != none).then_some(u64::from(value));
        let least = |name: &str, least: i8| (least != i8::MIN).then(|| format!("{name}:{least}"));
        let rounds = match self.rounds_x {
            Rounding::None => None,
            Rounding::Group(len) => Some(format!("rounds_x:{len}")),
            Rounding::Row => Some("rounds_x:row".to_owned()),
        };
        let words = [
            number("cols", above(self.cols_multiple, 1)),
            self.cols_list.map(|list| {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                format!("cols_list:{}", list.join("/"))
            }),
            number("rows", above(self.rows_multiple, 1)),
            number("max_cols", self.max_cols),
            number("max_batch", self.max_batch.map(u64::from)),
            flag("scales", self.scales == ScaleUse::Required),
            flag("no_scales", self.scales == ScaleUse::Never),
            flag("whole_last_stride", self.whole_last_stride),
            flag("varies_with_rows", self.varies_with_rows),
            number("alignment", above(self.alignment, 1)),
            number("over_read", above(self.over_read, 0)),
            number("max_code", self.max_code.map(u64::from)),
            least("min", self.activation_min),
            least("weight_min", self.weight_min),
            flag("finite", self.finite_only),
            rounds,
        ];
        words.into_iter().flatten().collect()
    }

    /// Takes a word of the text form; `None` if it is none.
    fn take(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let positive = || value.parse::<u32>().ok().filter(|&value| value > 0);
        let least = || value.parse().ok().filter(|&least| least == -127);
        match name {
            "cols" => self.cols_multiple = positive()?,
            "cols_list" => {
                let list: Option<BTreeSet<u32>> =
                    value.split('/').map(|cols| cols.parse().ok().filter(|&cols| cols > 0)).collect();
                self.cols_list = Some(kept(list?.into_iter().collect()));
            }
            "rows" => self.rows_multiple = positive()?,
            "max_cols" => self.max_cols = Some(positive()?.into()),
            "max_batch" => self.max_batch = Some(positive()?),
            "scales" if value.is_empty() => self.scales = ScaleUse::Required,
            "no_scales" if value.is_empty() => self.scales = ScaleUse::Never,
            "whole_last_stride" if value.is_empty() => self.whole_last_stride = true,
            "varies_with_rows" if value.is_empty() => self.varies_with_rows = true,
            "alignment" => self.alignment = positive().filter(|&bytes| is_alignment(bytes))?,
            "over_read" => self.over_read = positive().filter(|&bytes| bytes <= MOST_OVER_READ)?,
            "max_code" => self.max_code = Some(value.parse().ok()?),
            "min" => self.activation_min = least()?,
            "weight_min" => self.weight_min = least()?,
            "finite" if value.is_empty() => self.finite_only = true,
            "rounds_x" if value == "row" => self.rounds_x = Rounding::Row,
            "rounds_x" => self.rounds_x = Rounding::Group(positive()?),
            _ => return None,
        }
        Some(())
    }
}

/// The largest alignment, in bytes: a page.
pub const MOST_ALIGNMENT: u32 = 4096;

/// The most bytes past the end of an input that may be read: those of half a page.
pub const MOST_OVER_READ: u32 = 2048;

/// Whether buffers can be aligned to `bytes` bytes.
pub const fn is_alignment(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes <= MOST_ALIGNMENT
}

/// The least common multiple of two numbers that are not zero.
pub(crate) fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut greatest, mut rest) = (a, b);
    while rest != 0 {
        (greatest, rest) = (rest, greatest % rest);
    }
    a / greatest * b
}

/// A list that lives as long as the program; the same one for the same numbers.
fn kept(list: Vec<u32>) -> &'static [u32] {
    static LISTS: Mutex<BTreeSet<&'static [u32]>> = Mutex::new(BTreeSet::new());
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lists.get(list.as_slice()) {
        return known;
    }
    let list: &'static [u32] = list.leak();
    lists.insert(list);
    list
}

/// The next multiple of `unit` from `count` on, or the last one up to `most`. Numbers so large that there is none stay.
fn fitting(count: usize, unit: usize, most: usize) -> usize {
    let count = if count > most { most / unit * unit } else { count };
    match count.checked_next_multiple_of(unit) {
        Some(next) if next <= most => next,
        Some(next) => next - unit,
        None => count,
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

impl From<Requirements> for String {
    fn from(requirements: Requirements) -> Self {
        requirements.to_string()
    }
}

impl TryFrom<String> for Requirements {
    type Error = UnknownRequirement;

    /// As `from_str`, but that nothing is no requirement.
    fn try_from(words: String) -> Result<Self, Self::Error> {
        if words.is_empty() { Ok(Self::NONE) } else { words.parse() }
    }
}

/// A word that is no requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no requirement; docs/cases.md lists them")]
pub struct UnknownRequirement(String);

impl FromStr for Requirements {
    type Err = UnknownRequirement;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let mut requirements = Self::NONE;
        for word in words.split(',') {
            requirements.take(word).ok_or_else(|| UnknownRequirement(word.to_owned()))?;
        }
        Ok(requirements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_raised_to_what_is_required_and_stay_below_the_most() {
        let required =
            Requirements { cols_multiple: 48, max_cols: Some(500), rows_multiple: 4, ..Requirements::NONE };
        let cols = [0, 1, 48, 49, 480, 481, 9999].map(|cols| required.cols(cols, 1));
        assert_eq!(cols, [0, 48, 48, 96, 480, 480, 480]);
        assert_eq!([1, 97].map(|cols| required.cols(cols, 32)), [96, 192], "of 48 and of 32");
        let listed = Requirements { cols_list: Some(&[64, 96, 4096]), ..Requirements::NONE };
        assert_eq!([0, 1, 65, 97, 9999].map(|cols| listed.cols(cols, 1)), [64, 64, 96, 4096, 4096]);
        assert_eq!([1, 65].map(|cols| listed.cols(cols, 64)), [64, 4096], "of the list and of 64");
        assert_eq!(listed.cols(1, 5), 5, "nothing of the list is a multiple of 5");
        assert_eq!([0, 1, 5, usize::MAX].map(|rows| required.rows(rows)), [0, 4, 8, usize::MAX]);
        assert_eq!(Requirements::NONE.cols(777, 1), 777);
    }

    #[test]
    fn requirements_read_back_as_they_are_written() {
        let all = "cols:256,rows:4,max_cols:8192,max_batch:4,no_scales,whole_last_stride,varies_with_rows,alignment:32,over_read:16,\
                   max_code:2,min:-127,weight_min:-127,finite,rounds_x:row";
        for words in [all, "scales", "rounds_x:32", "cols:3", "cols_list:64/128/4096"] {
            let requirements: Requirements = words.parse().expect(words);
            assert_eq!(requirements.to_string(), words);
        }
        for words in [
            "",
            "cols",
            "cols:0",
            "cols_list:",
            "cols_list:64/0",
            "alignment:3",
            "alignment:8192",
            "min:-5",
            "finite:1",
            "over_read:4096",
        ] {
            assert!(words.parse::<Requirements>().is_err(), "`{words}`");
        }
    }
}
