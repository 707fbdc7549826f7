#!/usr/bin/env bash
# Packs a program that is built for this machine, with man pages, completions and licences, where
# `cargo binstall` looks for it: dist/clcc-flow-VERSION-TARGET.tar.gz.
#
#   packaging/archive.sh PROGRAM TARGET
set -euo pipefail
program=$(realpath "$1") target=$2
cd "$(dirname "$0")/.."

version=$("$program" --version | cut -d ' ' -f 2)
name="clcc-flow-$version-$target"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/$name/completions" dist

install -m 755 "$program" "$folder/$name/clcc-flow"
install -m 644 LICENSE-MIT LICENSE-APACHE CITATION.cff README.md "$folder/$name/"
"$program" man-pages "$folder/$name/man/man1"
for shell in bash zsh fish; do
  "$program" completions "$shell" > "$folder/$name/completions/clcc-flow.$shell"
done
tar -czf "dist/$name.tar.gz" -C "$folder" "$name"
echo "dist/$name.tar.gz"
