//! llg_new_matcher on threads of its own: with stacks that deep grammars cannot overflow, and for a bounded time.
use crate::deadline::until;
use llguidance::ffi::*;
use std::{
    ffi::{c_char, CStr, CString},
    sync::atomic::{AtomicUsize, Ordering},
    sync::mpsc::{channel, sync_channel, Receiver, Sender},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Only what is used of it takes memory. llguidance follows references by recursion, several kilobytes each.
const STACK_BYTES: usize = 1 << 30;

/// Compiles at once, those counted that nobody waits for any more.
const MOST_RUNNING: usize = 3;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A thread goes on to other compiles after one that took its core for so short a time: it has touched little of its stack, and
/// only a thread's end gives that back.
const SHORT: Duration = Duration::from_millis(5);

/// A compile, which leaves what hands its matcher over.
type Work = Box<dyn FnOnce() -> HandOver + Send>;
type HandOver = Box<dyn FnOnce()>;

/// Threads that wait for work: as many as once ran at a time, at most.
static IDLE: Mutex<Vec<Sender<Work>>> = Mutex::new(Vec::new());

/// Has a thread do it. False where the system gives none.
fn give(work: Work) -> bool {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    if let Some(thread) = idle {
        return thread.send(work).is_ok();
    }
    let (sender, receiver) = channel();
    let serve = move || serve(work, sender, receiver);
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(serve)
        .is_ok()
}

/// What this thread has computed for. On a busy machine far less than what has passed.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A compile begins when a core is free, or a little later: threads that compute steps do not lose theirs in the middle of a
/// piece for which others then wait.
fn be_patient() {
    let param = libc::sched_param { sched_priority: 0 };
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &param) };
}

fn serve(first: Work, sender: Sender<Work>, receiver: Receiver<Work>) {
    be_patient();
    let mut next = Ok(first);
    while let Ok(work) = next {
        let start = cpu_time();
        let hand_over = work();
        let was_short = cpu_time() - start <= SHORT;
        // Before its caller hears of the matcher: the caller's next compile finds this thread, and what it has in its caches.
        if was_short {
            IDLE.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sender.clone());
        }
        hand_over();
        if !was_short {
            return;
        }
        next = receiver.recv();
    }
}

/// Copies of all that a compile needs: it may go on when its caller has given up.
struct Job {
    init: LlgConstraintInit,
    tokenizer: LlgTokenizer,
    kind: CString,
    data: CString,
}

/// The address that moves from the compile's thread to its caller.
struct Made(*mut LlgMatcher);

// The pointers in them are to what they own, or to a matcher that no other thread knows.
unsafe impl Send for Job {}
unsafe impl Send for Made {}

/// Matchers that nobody uses any more, to be freed.
static RELEASED: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// Of them wait for the next compile.
const MOST_RELEASED: usize = 16;

fn take_released(most: usize) -> Vec<Made> {
    let mut released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = released.len().saturating_sub(most);
    released.split_off(kept)
}

fn free_all(matchers: Vec<Made>) {
    for matcher in matchers {
        unsafe { llg_free_matcher(matcher.0) };
    }
}

/// As llg_free_matcher, but the next compile does it, which then has the memory at hand that it takes.
///
/// # Safety
/// `matcher` is an LlgMatcher, and nobody uses it any more.
#[no_mangle]
pub unsafe extern "C" fn fastgen_release_matcher(matcher: *mut LlgMatcher) {
    let mut released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
    released.push(Made(matcher));
    let are_many = released.len() > MOST_RELEASED;
    drop(released);
    if are_many {
        fastgen_free_released();
    }
}

/// Frees what was released: before the tokenizer is freed that it uses.
#[no_mangle]
pub extern "C" fn fastgen_free_released() {
    free_all(take_released(usize::MAX));
}

impl Job {
    fn run(mut self) -> Made {
        self.init.tokenizer = &self.tokenizer;
        Made(unsafe { llg_new_matcher(&self.init, self.kind.as_ptr(), self.data.as_ptr()) })
    }
}

/// As llg_new_matcher, but null where it takes longer than `milliseconds`, where too many compiles run already, or where the
/// system gives no thread. A compile that took too long ends soon after, as an error that is freed.
///
/// # Safety
/// `init` has a tokenizer; `kind` and `data` are NUL-terminated.
#[no_mangle]
pub unsafe extern "C" fn fastgen_new_matcher(
    init: &LlgConstraintInit,
    kind: *const c_char,
    data: *const c_char,
    milliseconds: u64,
) -> *mut LlgMatcher {
    if RUNNING.fetch_add(1, Ordering::AcqRel) >= MOST_RUNNING {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        return std::ptr::null_mut();
    }
    let job = Job {
        init: init.clone(),
        tokenizer: unsafe { (*init.tokenizer).clone() },
        kind: unsafe { CStr::from_ptr(kind) }.to_owned(),
        data: unsafe { CStr::from_ptr(data) }.to_owned(),
    };
    let time = Duration::from_millis(milliseconds);
    let end = Instant::now() + time;
    // Without room for a value: it is handed over, or the sender keeps it.
    let (sender, receiver) = sync_channel(0);
    let compile = move || {
        free_all(take_released(2));
        let made = until(end, || job.run());
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        Box::new(move || {
            // One that its deadline ended is an error that says so in llguidance's words: the caller hears of the time instead.
            let unwanted = match Instant::now() < end {
                true => sender.send(made).err().map(|unsent| unsent.0),
                false => Some(made),
            };
            if let Some(made) = unwanted {
                unsafe { llg_free_matcher(made.0) };
            }
        }) as HandOver
    };
    if !give(Box::new(compile)) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        return std::ptr::null_mut();
    }
    match receiver.recv_timeout(time) {
        Ok(made) => made.0,
        Err(_) => std::ptr::null_mut(),
    }
}

/// Compiles that run now. While there are any, no encoder may be freed.
#[no_mangle]
pub extern "C" fn fastgen_running_compiles() -> usize {
    RUNNING.load(Ordering::Acquire)
}
