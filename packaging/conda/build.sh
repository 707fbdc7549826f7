#!/usr/bin/env bash
# Builds the program into $PREFIX, with its man pages and completions.
set -euo pipefail

cargo-bundle-licenses --format yaml --output THIRDPARTY.yml
cargo install --no-track --locked --root "$PREFIX" --path .

"$PREFIX/bin/clcc-flow" man-pages "$PREFIX/share/man/man1"
complete() {
  mkdir -p "$(dirname "$2")"
  "$PREFIX/bin/clcc-flow" completions "$1" > "$2"
}
complete bash "$PREFIX/share/bash-completion/completions/clcc-flow"
complete zsh "$PREFIX/share/zsh/site-functions/_clcc-flow"
complete fish "$PREFIX/share/fish/vendor_completions.d/clcc-flow.fish"
