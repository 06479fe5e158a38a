//! llguidance's C ABI, and what Fastgen adds to it: compiles and masks that end in time, and the model's own tokenizer for the text that a
//! grammar forces. `build.sh` links the shared library from it.
pub use llguidance::ffi::*;

/// Compiles are mostly small allocations, made on one thread and freed on others.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod compile;
mod deadline;
mod encoder;
mod follower;
mod step;
pub use compile::*;
pub use encoder::*;
pub use follower::*;
pub use step::*;
