//! How often properties were applied.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Property;

/// How often each property was applied. In JSON an object of those that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<Property, u64>", from = "BTreeMap<Property, u64>")]
pub struct PropertyCounts([u64; Property::ALL.len()]);

impl PropertyCounts {
    /// Counts `times` more applications.
    pub fn add(&mut self, property: Property, times: u64) {
        self.0[property as usize] += times;
    }

    /// Applications of `property`.
    pub fn of(&self, property: Property) -> u64 {
        self.0[property as usize]
    }

    /// Adds the counts of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The properties that were applied at all.
    pub fn applied(&self) -> impl Iterator<Item = Property> {
        Property::ALL.into_iter().filter(|&property| self.of(property) > 0)
    }
}

impl From<PropertyCounts> for BTreeMap<Property, u64> {
    fn from(counts: PropertyCounts) -> Self {
        counts.applied().map(|property| (property, counts.of(property))).collect()
    }
}

impl From<BTreeMap<Property, u64>> for PropertyCounts {
    fn from(applied: BTreeMap<Property, u64>) -> Self {
        let mut counts = Self::default();
        applied.into_iter().for_each(|(property, times)| counts.add(property, times));
        counts
    }
}
