//! What `selftest` can examine.

use std::str::FromStr;

use qk256_mutants::peers::{PEERS, Peer};
use qk256_mutants::{Mutant, faults, right, wrong};

use super::subject::{Kind, Subject};

/// The wrong kernels, the right ones, and the faults of the harness with the kernels that they let go.
pub(super) fn all() -> Vec<Subject> {
    let wrong_ones = wrong().into_iter().map(|mutant| Subject { kind: Kind::Wrong, mutant });
    let right = right().into_iter().map(|mutant| Subject { kind: Kind::Right, mutant });
    let faults = faults().into_iter().map(|fault| {
        let witness = wrong().into_iter().find(|mutant| mutant.name == fault.witness);
        let mutant = witness.unwrap_or_else(|| panic!("`{}` names a mutant that there is", fault.name));
        Subject { kind: Kind::Fault(fault), mutant }
    });
    wrong_ones.chain(right).chain(faults).collect()
}

/// The wrong kernels that another project has a test for, by this harness; then each kernel by each such test.
pub(super) fn with_peers() -> Vec<Subject> {
    let has_test = |mutant: &Mutant| PEERS.iter().any(|peer| is_for(peer, mutant));
    let here = wrong().into_iter().filter(has_test).map(|mutant| Subject { kind: Kind::Wrong, mutant });
    here.chain(by_peers()).collect()
}

fn by_peers() -> impl Iterator<Item = Subject> {
    let kernels: Vec<Mutant> = wrong().into_iter().chain(right()).collect();
    PEERS.iter().flat_map(move |peer| {
        let subject = |mutant: &Mutant| Subject { kind: Kind::Peer(peer), mutant: *mutant };
        kernels.iter().filter(|mutant| is_for(peer, mutant)).map(subject).collect::<Vec<_>>()
    })
}

fn is_for(peer: &Peer, mutant: &Mutant) -> bool {
    !mutant.huge && peer.applies(mutant.kernel.domain)
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = all().into_iter().chain(by_peers()).find(|subject| subject.to_string() == word);
        found.ok_or_else(|| format!("`{word}` is no kernel and no fault of the selftest"))
    }
}
