//! The tests of other projects, by their data, shapes and limits: how many of the wrong kernels they see.
//!
//! They are written anew from the projects' sources. Kernels are called in plain memory, as those tests call theirs: nothing looks at
//! memory, threads, registers or a second call. docs/bugs.md says what was read, and what these tests cannot see.

mod operands;
mod quantised;
mod rules;

use std::panic::{AssertUnwindSafe, catch_unwind};

use qk256_verify::{Domain, KernelFn, Requirements};

use operands::Test;

/// A test of another project.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// A word for it.
    pub name: &'static str,
    /// What it compares, and with what limit.
    pub rule: &'static str,
    /// Whether it has a test for kernels of a domain.
    has_test: fn(Domain) -> bool,
    /// Its calls for kernels of a domain that it has a test for.
    tests: fn(Domain) -> Box<dyn Iterator<Item = Test>>,
}

/// Every such test.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "ggml",
        rule: "test-quantize-fns: one row of 4096 cosines; 0.02 to 0.40 an element, by type",
        has_test: rules::is_of_ggml,
        tests: rules::ggml,
    },
    Peer {
        name: "kleidiai",
        rule: "matrices of 32 and 64 columns, x and weights in [0, 1); 5 % of outputs may be beyond 2 %",
        has_test: rules::is_product,
        tests: rules::kleidiai,
    },
    Peer {
        name: "torchao",
        rule: "matrices of 32 to 128 columns, x and weights in [-1, 1]; 5e-2 an output",
        has_test: rules::is_product,
        tests: rules::torchao,
    },
    Peer {
        name: "bitnet-rs",
        rule: "17 vectors of 256 to 4096 columns, x in [-10, 10]; absolute or relative 1e-4",
        has_test: rules::is_of_bitnet_rs,
        tests: rules::bitnet_rs,
    },
];

impl Peer {
    /// Whether it has a test for kernels of a domain that ask nothing of their callers.
    pub fn applies(&self, domain: Domain) -> bool {
        domain.requirements == Requirements::NONE
            && quantised::is_known(domain.format)
            && (self.has_test)(domain)
    }

    /// What it finds in a kernel first, if it finds something. The kernel may crash this process.
    pub fn finding(&self, kernel: &KernelFn) -> Option<String> {
        let finding = |test: Test| match catch_unwind(AssertUnwindSafe(|| test.finding(kernel))) {
            Ok(finding) => finding,
            Err(_) => Some("panic".to_owned()),
        };
        (self.tests)(kernel.domain).find_map(finding)
    }
}
