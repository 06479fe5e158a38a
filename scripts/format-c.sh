#!/bin/sh
# Formats every C and CUDA file of the repository. With --check it changes nothing, lists the files that are not formatted,
# and fails if there are any. It uses one version of clang-format, from PyPI, since another would format differently.
#   usage: scripts/format-c.sh [--check]
set -eu
cd "$(dirname "$0")/.."

version=23.1.5
home=.cache/clang-format-$version
if [ ! -d "$home" ]; then
	rm -rf "$home.part"
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
		--target "$home.part" "clang-format==$version"
	mv "$home.part" "$home"
fi
clang_format=$home/clang_format/data/bin/clang-format

wrong=
# llguidance's header is another project's.
for file in $(git ls-files '*.[ch]' '*.cu' '*.cuh' '*.cpp' '*.hpp' ':!llguidance'); do
	if [ "${1:-}" != --check ]; then
		"$clang_format" -i "$file"
	elif ! "$clang_format" --dry-run --Werror "$file" 2>/dev/null; then
		wrong="$wrong $file"
	fi
done
[ -z "$wrong" ] || { echo "not formatted:$wrong; run scripts/format-c.sh" >&2; exit 1; }
