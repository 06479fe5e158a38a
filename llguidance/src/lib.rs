//! llguidance's C ABI, and what writes the text that a grammar forces: the model's own tokenizer. `build.sh` links the shared
//! library from it.
pub use llguidance::ffi::*;

mod encoder;
pub use encoder::*;
