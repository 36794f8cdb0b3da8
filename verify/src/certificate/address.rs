//! What is made of addresses: sums of places, each taken some number of times. Where a buffer lies is no input of a kernel, and must not matter.

use std::collections::HashMap;

/// The number of a sum.
pub(super) type Sum = u32;

/// Every sum that came up.
#[derive(Debug)]
pub(super) struct Addresses {
    /// The places of each, ascending, with how often it is taken, which is not 0.
    sums: Vec<Vec<(u32, i64)>>,
    numbers: HashMap<Vec<(u32, i64)>, Sum>,
    /// Of distances between two places, how large they are at least, wherever the places lie.
    distances: HashMap<Sum, u64>,
}

impl Addresses {
    /// No address at all: a number that does not depend on any.
    pub(super) const NONE: Sum = 0;

    /// Something else that depends on addresses, such as their alignment.
    pub(super) const OTHER: Sum = 1;

    pub(super) fn new() -> Self {
        // The second stands for what no sum describes, and equals no sum.
        let sums = vec![Vec::new(), vec![(u32::MAX, i64::MAX)]];
        let numbers = sums.iter().cloned().zip(0..).collect();
        Self { sums, numbers, distances: HashMap::new() }
    }

    /// An address within a place.
    pub(super) fn within(&mut self, place: u32) -> Sum {
        self.number(vec![(place, 1)])
    }

    /// The place that an address lies within, if it is one.
    pub(super) fn place(&self, sum: Sum) -> Option<u32> {
        match self.sums[sum as usize][..] {
            [(place, 1)] => Some(place),
            _ => None,
        }
    }

    /// `a` and `times` times `b`.
    pub(super) fn add(&mut self, a: Sum, b: Sum, times: i64) -> Sum {
        let is_other = |sum| sum == Self::OTHER || self.distances.contains_key(&sum);
        if is_other(a) && b == Self::NONE {
            return a;
        }
        if is_other(a) || is_other(b) {
            return Self::OTHER;
        }
        let mut sum = self.sums[a as usize].clone();
        for &(place, count) in &self.sums[b as usize] {
            match sum.binary_search_by_key(&place, |&(place, _)| place) {
                Ok(at) => sum[at].1 += times * count,
                Err(at) => sum.insert(at, (place, times * count)),
            }
        }
        sum.retain(|&(_, count)| count != 0);
        self.number(sum)
    }

    /// The distance of an address within `a` and one within `b`, whichever comes first.
    pub(super) fn distance(&mut self, a: Sum, b: Sum, least: u64) -> Sum {
        let distance =
            self.number(vec![(u32::MAX, i64::from(a)), (u32::MAX, i64::from(b)), (u32::MAX, least as i64)]);
        self.distances.insert(distance, least);
        distance
    }

    /// How large a distance is at least, if it is one.
    pub(super) fn least(&self, distance: Sum) -> Option<u64> {
        self.distances.get(&distance).copied()
    }

    fn number(&mut self, sum: Vec<(u32, i64)>) -> Sum {
        let next = self.sums.len() as Sum;
        let number = *self.numbers.entry(sum.clone()).or_insert(next);
        if number == next {
            self.sums.push(sum);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_within_one_place_is_no_address() {
        let mut addresses = Addresses::new();
        let [x, y] = [4, 7].map(|place| addresses.within(place));
        assert_eq!(addresses.add(x, x, -1), Addresses::NONE);
        let difference = addresses.add(y, x, -1);
        assert_eq!(addresses.place(difference), None);
        assert_eq!(addresses.add(difference, x, 1), y);
        assert_eq!(addresses.add(x, Addresses::OTHER, 1), Addresses::OTHER);
    }
}
