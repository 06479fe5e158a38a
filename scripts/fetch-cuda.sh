#!/bin/sh
# Fetches the CUDA compiler and the libraries that libfastgen_cuda uses from PyPI into .cache/cuda (735 MB to download, 1.1 GB
# on disk), unless they are there already. Prints the toolkit's folder: the CUDA_HOME to build with, and to run with where the
# system has no cuBLASLt or NCCL. Needs Python 3 with pip, but no GPU and no driver.
#   usage: scripts/fetch-cuda.sh
set -eu
cd "$(dirname "$0")/.."

# All of one release, CUDA 13.0. The parts of the compiler must match each other to the patch level.
packages="
nvidia-cuda-nvcc==13.0.88
nvidia-nvvm==13.0.88
nvidia-cuda-crt==13.0.88
nvidia-cuda-cccl==13.0.85
nvidia-cuda-runtime==13.0.96
nvidia-cublas==13.1.1.3
nvidia-nccl-cu13==2.28.9
nvidia-cuda-cupti==13.0.85
"
target=.cache/cuda
home=$target/nvidia/cu13
stamp=$target/packages
wanted=$(echo $packages)

if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
	echo "fetching CUDA's compiler and libraries from PyPI (735 MB)" >&2
	mkdir -p .cache
	fresh=$(mktemp -d .cache/cuda.XXXXXX)
	trap 'rm -rf "$fresh"' EXIT
	python3 -m pip install --disable-pip-version-check --root-user-action=ignore --no-deps \
		--no-compile --target "$fresh" $wanted >&2
	[ -x "$fresh/nvidia/cu13/bin/nvcc" ] || { echo "error: the packages contain no nvidia/cu13/bin/nvcc" >&2; exit 1; }
	# NCCL comes in a folder of its own. One toolkit folder is simpler to build with.
	ln -s ../../nccl/include/nccl.h "$fresh/nvidia/cu13/include/nccl.h"
	ln -s ../../nccl/lib/libnccl.so.2 "$fresh/nvidia/cu13/lib/libnccl.so.2"
	# The wheels contain only versioned names (libcublas.so.13). A linker looks for plain ones.
	find "$fresh/nvidia/cu13/lib" -name 'lib*.so.*' | while read -r library; do
		plain=${library%%.so.*}.so
		[ -e "$plain" ] || ln -s "$(basename "$library")" "$plain"
	done
	echo "$wanted" >"$fresh/packages"
	rm -rf "$target"
	mv "$fresh" "$target"
	trap - EXIT
fi
echo "$PWD/$home"
