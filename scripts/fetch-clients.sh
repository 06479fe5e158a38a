#!/bin/sh
# Installs the clients that test/clients runs, each in a virtual environment of its own below .cache/clients, from its pinned list.
# Needs Python 3.11 or newer with pip, and npm. A client whose list has not changed is left as it is.
set -eu
cd "$(dirname "$0")/.."
lists=test/clients/requirements
folder=$PWD/.cache/clients
mkdir -p "$folder"

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
	# The list is complete. A package may name others that are left out on purpose, such as torch.
	"$uv" pip install --quiet --no-deps --python "$folder/$client/bin/python" --requirements "$list"
	cp "$list" "$folder/$client/installed.txt"
done

list=test/clients/node/package-lock.json
if ! cmp -s "$list" "$folder/node/installed.json"; then
	echo "clients: node"
	rm -rf "$folder/node"
	mkdir "$folder/node"
	cp test/clients/node/package.json "$list" "$folder/node"
	npm ci --silent --no-audit --no-fund --prefix "$folder/node"
	cp "$list" "$folder/node/installed.json"
fi
