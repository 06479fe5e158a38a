//! A matcher that goes along with its sequence while the tokens are sampled: the source of a libfastgen fg_follower. Threads of
//! libfastgen's steps call it, one at a time. Meanwhile the engine's thread reads what followed a token whose step is over.
use crate::step::*;
use llguidance::ffi::*;
use std::ptr::addr_of;

/// As in fastgen.h: what is sampled is up to the mask; nothing may be sampled.
const NO_TOKEN: i32 = -1;
const MASK_LATE: i32 = -2;

/// Forced tokens that are taken after one that was sampled. Those beyond it come from the mask.
const MOST_FORCED: usize = 1024;

/// What followed a token that was sampled.
#[derive(Default)]
struct Followed {
    /// The grammar took it.
    taken: bool,
    /// The ids that had to follow it: the matcher is behind them.
    forced: Vec<u32>,
    /// Nothing can follow these, or the matcher has failed.
    over: bool,
}

pub struct Follower {
    matcher: *mut LlgMatcher,
    /// Of the token that comes next: so many are before it. -1: nothing can come any more.
    position: i32,
    /// Nothing is forced here: single tokens may be checked in place of the mask.
    checks: bool,
    /// Where one token alone was forced, and its id: the step in flight still asks for it.
    lone: (i32, i32),
    /// Of the last two tokens sampled, by their positions: two steps are in flight at most.
    followed: [Followed; 2],
    room: Vec<u32>,
}

impl Follower {
    fn take(&mut self, token: u32) {
        let at = self.position;
        let matcher = unsafe { &mut *self.matcher };
        let followed = &mut self.followed[at as usize % 2];
        let forced = &mut followed.forced;
        forced.clear();
        followed.taken = llg_matcher_consume_token(matcher, token) == 0;
        self.checks = false;
        while !self.checks && !llg_matcher_is_stopped(matcher) && forced.len() < MOST_FORCED {
            let most = MOST_FORCED - forced.len();
            let count =
                unsafe { llg_matcher_compute_ff_tokens(matcher, self.room.as_mut_ptr(), most) };
            let ids = &self.room[..count.max(0) as usize];
            let consumes = |id: &&u32| llg_matcher_consume_token(matcher, **id) == 0;
            forced.extend(ids.iter().take_while(consumes));
            self.checks = ids.is_empty();
        }
        followed.over = llg_matcher_is_stopped(matcher);
        self.lone = match forced[..] {
            [id] => (at + 1, id as i32),
            _ => (-1, NO_TOKEN),
        };
        self.position = match followed.over {
            true => -1,
            false => at + 1 + forced.len() as i32,
        };
    }
}

/// Makes a follower of a matcher, which belongs to it until fastgen_follower_free: nobody else may change it. `position`: so many
/// tokens are before the one that the matcher expects. `checks`: nothing is forced there.
#[no_mangle]
pub extern "C" fn fastgen_follower_new(
    matcher: *mut LlgMatcher,
    position: i32,
    checks: bool,
) -> *mut Follower {
    Box::into_raw(Box::new(Follower {
        matcher,
        position,
        checks,
        lone: (-1, NO_TOKEN),
        followed: Default::default(),
        room: vec![0; MOST_FORCED],
    }))
}

/// Frees a follower, and not its matcher. No step that it was given for is in flight.
///
/// # Safety
/// `follower` came from fastgen_follower_new, and is not freed twice.
#[no_mangle]
pub unsafe extern "C" fn fastgen_follower_free(follower: *mut Follower) {
    drop(unsafe { Box::from_raw(follower) });
}

/// The fg_follower's `fill`.
///
/// # Safety
/// As fastgen_compute_mask.
#[no_mangle]
pub unsafe extern "C" fn fastgen_follower_fill(
    follower: &mut Follower,
    mask: *mut u32,
    mask_bytes: usize,
) -> i32 {
    unsafe { fastgen_compute_mask(&mut *follower.matcher, mask, mask_bytes) }
}

/// Its `check`.
///
/// # Safety
/// `follower` came from fastgen_follower_new.
#[no_mangle]
pub unsafe extern "C" fn fastgen_follower_check(follower: &mut Follower, token: u32) -> i32 {
    match follower.checks {
        true => unsafe { fastgen_allows_token(&mut *follower.matcher, token) },
        false => 0,
    }
}

/// Its `known`.
#[no_mangle]
pub extern "C" fn fastgen_follower_known(follower: &Follower, position: i32) -> i32 {
    match position {
        at if at == follower.position => NO_TOKEN,
        at if at == follower.lone.0 => follower.lone.1,
        _ => MASK_LATE,
    }
}

/// Its `take`: the matcher goes on by `token` and by what that forces, for 0.5 s at most, or fails.
#[no_mangle]
pub extern "C" fn fastgen_follower_take(follower: &mut Follower, position: i32, token: u32) {
    if position == follower.position {
        in_time(|| follower.take(token));
    }
}

/// What followed the token sampled at `position`, whose step is over; the step behind it may be running. Writes the ids that were
/// forced, in `ids`, and whether anything can follow them. Returns their number; -1: the grammar did not take the token.
///
/// # Safety
/// `follower` came from fastgen_follower_new, and `position` is one of the last two that were sampled. `ids` has room for 1024.
#[no_mangle]
pub unsafe extern "C" fn fastgen_follower_followed(
    follower: *const Follower,
    position: i32,
    ids: *mut u32,
    over: *mut u8,
) -> i32 {
    let followed = unsafe { &*addr_of!((*follower).followed[position as usize % 2]) };
    if !followed.taken {
        return -1;
    }
    let forced = &followed.forced;
    unsafe {
        std::ptr::copy_nonoverlapping(forced.as_ptr(), ids, forced.len());
        *over = followed.over as u8;
    }
    forced.len() as i32
}
