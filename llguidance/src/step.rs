//! What an answer asks of a matcher at each of its tokens, for a bounded time: a grammar that compiled fast can still have a state
//! that takes hours. Threads of libfastgen and of the engine call it, and other answers wait for them.
use crate::deadline::until;
use llguidance::ffi::*;
use std::time::{Duration, Instant};

/// Real grammars take microseconds, and tens of milliseconds at worst.
const STEP: Duration = Duration::from_millis(500);

/// As llg_matcher_compute_mask_into; fails after 0.5 s.
///
/// # Safety
/// `mask` has room for `mask_bytes`.
#[no_mangle]
pub unsafe extern "C" fn fastgen_compute_mask(
    matcher: &mut LlgMatcher,
    mask: *mut u32,
    mask_bytes: usize,
) -> i32 {
    until(Instant::now() + STEP, || unsafe {
        llg_matcher_compute_mask_into(matcher, mask, mask_bytes)
    })
}

/// As llg_matcher_consume_token; fails after 0.5 s.
#[no_mangle]
pub extern "C" fn fastgen_consume_token(matcher: &mut LlgMatcher, token: u32) -> i32 {
    until(Instant::now() + STEP, || {
        llg_matcher_consume_token(matcher, token)
    })
}

/// As llg_matcher_compute_ff_tokens; fails after 0.5 s.
///
/// # Safety
/// `output` has room for `output_len` ids.
#[no_mangle]
pub unsafe extern "C" fn fastgen_forced_tokens(
    matcher: &mut LlgMatcher,
    output: *mut u32,
    output_len: usize,
) -> i32 {
    until(Instant::now() + STEP, || unsafe {
        llg_matcher_compute_ff_tokens(matcher, output, output_len)
    })
}
