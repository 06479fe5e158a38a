#!/bin/sh
# Builds the shared library from source: llguidance/build.sh [FILE] (default build/libllguidance.so). Needs cargo (Rust 1.87 or
# newer), patch and gcc. llguidance/compress.mjs makes a prebuilt library of the result.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/libllguidance.so}
target=$(realpath -m "${CARGO_TARGET_DIR:-build/cargo}")
crates=$target/crates

# The crates as Cargo.lock has them; those that an earlier build has patched anew. Cargo would refuse a changed one by its
# files' checksums.
rm -rf "$crates"/derivre-* "$crates"/llguidance-*
cargo vendor --quiet --locked --versioned-dirs --manifest-path llguidance/Cargo.toml "$crates" >/dev/null
for crate in derivre llguidance; do
	patch --quiet -d "$crates/$crate"-* -p1 <"llguidance/$crate.patch"
	sed -i 's/"files":{[^}]*}/"files":{}/' "$crates/$crate"-*/.cargo-checksum.json
done

# No paths of the machine that built it.
RUSTFLAGS="--remap-path-prefix=$crates=/crates --remap-path-prefix=$PWD=/fastgen"
export RUSTFLAGS
cargo build --manifest-path llguidance/Cargo.toml --release --locked --target-dir "$target" \
	--config 'source.crates-io.replace-with="vendored"' --config "source.vendored.directory=\"$crates\""
mkdir -p "$(dirname "$out")"
# A panic is caught where C calls the library, so it is unwound: libgcc comes from the system, as libc does.
${CC:-gcc} -shared -s -o "$out" -Wl,--version-script=llguidance/exports.map -Wl,--gc-sections -Wl,--build-id=none \
	-Wl,-z,now -Wl,--no-undefined -Wl,-u,llg_new_matcher -Wl,-u,fastgen_encoder_new -Wl,-u,fastgen_new_matcher \
	"$target/release/libfastgen_llguidance.a" -lgcc_s
