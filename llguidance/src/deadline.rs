//! Work that ends in time. llguidance's own limits are checked between the steps of its work on regular expressions, and one such
//! step can take hours; `derivre.patch` makes it ask here within them.
use std::{cell::Cell, panic::resume_unwind, time::Instant};

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs a function of llguidance's C ABI, which fails as after a panic where it works beyond `end`.
pub fn until<T>(end: Instant, work: impl FnOnce() -> T) -> T {
    DEADLINE.set(Some(end));
    let result = work();
    DEADLINE.set(None);
    result
}

/// Called by the patched crate. llguidance catches what it throws.
#[no_mangle]
extern "C-unwind" fn check_deadline() {
    if DEADLINE.get().is_some_and(|end| Instant::now() >= end) {
        resume_unwind(Box::new("it takes too long".to_string()));
    }
}
