//! The contract of every kernel (docs/adding-a-kernel.md): what it may touch, and what it must leave alone.

use qk256_proptests::{drawn, property, wrong_sizes};
use qk256_verify::{Case, Operation, Property};

/// A drawn case of every operation.
fn of_each_operation(seed: u64) -> Vec<Case> {
    Operation::ALL.map(|operation| drawn(operation, seed)).to_vec()
}

property!(kernels_touch_nothing_outside_of_their_buffers, 256, [Property::Memory], 512, of_each_operation);

property!(kernels_leave_their_inputs_as_they_were, 256, [Property::Inputs], 512, of_each_operation);

property!(kernels_leave_the_floating_point_mode_as_it_was, 256, [Property::Mxcsr], 512, of_each_operation);

property!(kernels_do_not_panic, 256, [Property::Panic], 512, of_each_operation);

property!(kernels_take_every_legal_size, 256, [Property::Sizes], 256, of_each_operation);

property!(
    kernels_refuse_wrong_sizes_before_they_touch_memory,
    512,
    [Property::Sizes, Property::Memory],
    1024,
    |seed| { Operation::ALL.map(|operation| wrong_sizes(operation, seed)).to_vec() }
);
