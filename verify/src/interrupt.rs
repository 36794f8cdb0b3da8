//! The request to end early, such as Ctrl-C: set by a signal handler, read by everything that may take long.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Requests that this process ends early. A signal handler may call this.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Whether an early end was requested.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// The flag itself.
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
}
