//! What an answer asks of a matcher at each of its tokens, for a bounded time: a grammar that compiled fast can still have a state
//! that takes hours. Threads of libfastgen and of the engine call it, and other answers wait for them.
use crate::deadline::until;
use llguidance::ffi::*;
use std::time::{Duration, Instant};

/// Real grammars take microseconds, and tens of milliseconds at worst.
const STEP: Duration = Duration::from_millis(500);

/// Runs a function of llguidance's C ABI for so long at most, and then fails it.
pub fn in_time<T>(work: impl FnOnce() -> T) -> T {
    until(Instant::now() + STEP, work)
}

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
    in_time(|| unsafe { llg_matcher_compute_mask_into(matcher, mask, mask_bytes) })
}

/// Whether the mask allows `token`, for the work of one token: 1 = for certain. 0: it does not, or it cannot be told without
/// the mask, or the matcher has failed. While tokens are forced it is not what the mask says.
///
/// # Safety
/// `matcher` came from fastgen_new_matcher or llg_clone_matcher.
#[no_mangle]
pub unsafe extern "C" fn fastgen_allows_token(matcher: &mut LlgMatcher, token: u32) -> i32 {
    in_time(|| (unsafe { llg_matcher_validate_tokens(matcher, &token, 1) } == 1) as i32)
}

/// As llg_matcher_consume_token; fails after 0.5 s.
#[no_mangle]
pub extern "C" fn fastgen_consume_token(matcher: &mut LlgMatcher, token: u32) -> i32 {
    in_time(|| llg_matcher_consume_token(matcher, token))
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
    in_time(|| unsafe { llg_matcher_compute_ff_tokens(matcher, output, output_len) })
}
