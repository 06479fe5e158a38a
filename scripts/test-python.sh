#!/bin/sh
# Checks and tests the Python package, then its wheel as a user gets it: installed by pip, in an empty folder. Needs ./fgserve and
# Python 3.10 or newer with pip. The pinned packages go to .cache/python, and stay there until their list changes.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
list=python/tests/requirements.txt
environment=$root/.cache/python
if ! cmp -s "$list" "$environment/installed.txt"; then
	python3 -m venv --clear "$environment"
	"$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
	cp "$list" "$environment/installed.txt"
fi

(cd python && "$environment/bin/mypy" && "$environment/bin/pytest" --quiet "$@")

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 python/build_backend.py "$folder/wheel"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$folder"/wheel/*.whl
mkdir "$folder/empty"
cd "$folder/empty"
env -i HOME="$folder" PATH=/usr/bin:/bin "$folder/venv/bin/python" -c '
from fastgen import Fastgen, find_executable

assert "site-packages" in find_executable(), find_executable()
with Fastgen() as fastgen:
    answer = fastgen.chat([{"role": "user", "content": "What is 17 + 25?"}], temperature=0)
    assert answer.text == "17 + 25 = 42.", answer
'
for tool in fgserve fgchat fgbatch; do
	"$folder/venv/bin/$tool" --help | grep -q "^Usage: $tool "
done
echo "wheel: $(basename "$folder"/wheel/*.whl) installs and answers"
