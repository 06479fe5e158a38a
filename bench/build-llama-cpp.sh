#!/bin/sh
# Builds llama.cpp for this machine's CPU, from the source package of llama-cpp-python, in a virtual environment under
# .cache. Prints that environment's Python. Does nothing more if the environment is there already.
#   usage: bench/build-llama-cpp.sh
set -eu
cd "$(dirname "$0")/.."

version=0.3.36
# The tools that build it, and what llama-cpp-python imports.
packages="
scikit-build-core==1.1.2 packaging==26.4 pathspec==1.1.1 cmake==4.4.5 ninja==1.13.2
numpy==2.4.6 typing-extensions==4.16.0 diskcache==5.6.3 jinja2==3.1.6 markupsafe==3.0.4
"
# For the instructions of this CPU, with llamafile's bf16 matrix products, without image models (never run here).
flags="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON -DGGML_OPENMP=ON -DLLAVA_BUILD=OFF"

home=.cache/llama-cpp-python-$version
if [ ! -f "$home/build-flags" ]; then
	rm -rf "$home"
	mkdir -p .cache
	python3 -m venv "$home" >&2
	pip() { "$home/bin/python" -m pip --disable-pip-version-check "$@" >&2; }
	pip install --quiet --no-deps $packages
	echo "building llama.cpp in $home: this takes some minutes" >&2
	PATH="$PWD/$home/bin:$PATH" CMAKE_ARGS=$flags \
		pip install --no-deps --no-build-isolation --no-binary llama-cpp-python "llama-cpp-python==$version"
	echo "$flags" >"$home/build-flags"
fi
echo "$PWD/$home/bin/python"
