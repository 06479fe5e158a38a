#!/bin/sh
# Installs the clients that test/clients runs, each in a virtual environment of its own below .cache/clients, from its pinned list.
# Needs Python 3.11 or newer with pip, and npm. A client whose list has not changed is left as it is.
set -eu
cd "$(dirname "$0")/.."
lists=test/clients/requirements
mkdir -p .cache/clients
# npm installs nothing into a folder that a link leads to.
folder=$(cd .cache/clients && pwd -P)

# uv installs a hundred packages in a second or two; pip takes minutes.
uv=$folder/uv/bin/uv
if ! "$uv" --version 2>/dev/null | grep -q ' 0\.13\.9 '; then
	python3 -m venv --clear "$folder/uv"
	"$folder/uv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
fi

for list in "$lists"/*.txt; do
	client=$(basename "$list" .txt)
	cmp -s "$list" "$folder/$client/installed.txt" && continue
	echo "clients: $client"
	"$uv" venv --quiet --clear "$folder/$client"
	# Ray starts a dozen interpreters at once, each of which would compile the same modules.
	bytecode=
	[ "$client" != ray ] || bytecode=--compile-bytecode
	# The list is complete. A package may name others that are left out on purpose, such as torch.
	"$uv" pip install --quiet --no-deps $bytecode --python "$folder/$client/bin/python" --requirements "$list"
	cp "$list" "$folder/$client/installed.txt"
done

# The GRPO loop of examples/rl. PyTorch comes with all that it names: it does not start without.
list=examples/rl/requirements.txt
if ! cmp -s "$list" "$folder/rl/installed.txt"; then
	echo "clients: rl"
	"$uv" venv --quiet --clear "$folder/rl"
	"$uv" pip install --quiet --python "$folder/rl/bin/python" --requirements "$list"
	cp "$list" "$folder/rl/installed.txt"
fi

for list in test/clients/node*/package-lock.json; do
	client=$(basename "$(dirname "$list")")
	cmp -s "$list" "$folder/$client/installed.json" && continue
	echo "clients: $client"
	rm -rf "${folder:?}/$client"
	mkdir "$folder/$client"
	cp "test/clients/$client/package.json" "$list" "$folder/$client"
	npm ci --silent --no-audit --no-fund --prefix "$folder/$client"
	cp "$list" "$folder/$client/installed.json"
done
