#!/usr/bin/env bash
# Runs the tests that hold the bits of the numerics on emulated processors:
#
#   scripts/portable-bits.sh            x86-64 without fused multiply-add (qemu64), and Haswell (AVX2)
#   scripts/portable-bits.sh aarch64    64-bit ARM too; builds clcc-numerics and what it needs for it
#
# The hashes are in the tests, so a processor that disagrees fails. Needs qemu-user; for aarch64 also
# gcc-aarch64-linux-gnu and `rustup target add aarch64-unknown-linux-gnu`.
set -euo pipefail
cd "$(dirname "$0")/.."

TESTS=everywhere

# The test program of clcc-numerics, for the target given or this machine's.
test_program() {
  cargo test -q -p clcc-numerics --lib --no-run --message-format json "$@" |
    sed -n 's/.*"executable":"\([^"]*clcc_numerics[^"]*\)".*/\1/p' | tail -n 1
}

run() { # name, emulator...
  local name=$1
  shift
  printf '== %s\n' "$name"
  local said
  said=$("$@" "$program" "$TESTS" 2> >(grep -v 'TCG doesn' >&2))
  grep '^test ' <<<"$said"
  # A filter that matches nothing must not pass.
  grep -q 'test result: ok. [1-9]' <<<"$said"
}

program=$(test_program)
run "this machine" env
run "x86-64 without fused multiply-add" qemu-x86_64 -cpu qemu64
run "Haswell" qemu-x86_64 -cpu Haswell

if [ "${1:-}" = aarch64 ]; then
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  program=$(test_program --target aarch64-unknown-linux-gnu)
  run "aarch64" qemu-aarch64 -L /usr/aarch64-linux-gnu
fi
