#!/bin/sh
# Builds the shared library from source: llguidance/build.sh [FILE] (default build/libllguidance.so). Needs cargo (Rust 1.87 or
# newer) and gcc. llguidance/compress.mjs makes a prebuilt library of the result.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/libllguidance.so}
target=${CARGO_TARGET_DIR:-build/cargo}

# The same sources and compilers give the same bytes in every folder.
RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/fastgen"
export RUSTFLAGS
cargo build --manifest-path llguidance/Cargo.toml --release --locked --target-dir "$target"
mkdir -p "$(dirname "$out")"
# A panic is caught where C calls the library, so it is unwound: libgcc comes from the system, as libc does.
${CC:-gcc} -shared -s -o "$out" -Wl,--version-script=llguidance/exports.map -Wl,--gc-sections -Wl,--build-id=none \
	-Wl,-z,now -Wl,--no-undefined -Wl,-u,llg_new_matcher -Wl,-u,fastgen_encoder_new -Wl,-u,fastgen_new_matcher \
	"$target/release/libfastgen_llguidance.a" -lgcc_s
