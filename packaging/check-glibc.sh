#!/usr/bin/env bash
# Fails where a program needs a newer glibc than LIMIT, or a shared library other than glibc's and libgcc's.
#
#   packaging/check-glibc.sh PROGRAM LIMIT
set -euo pipefail
program=$1 limit=$2

newest=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
if [ "$(printf '%s\n' "$newest" "$limit" | sort -V | tail -n 1)" != "$limit" ]; then
  echo "$program needs glibc $newest; expected at most $limit" >&2
  objdump -T "$program" | grep "GLIBC_$newest" >&2
  exit 1
fi

needed=$(objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }')
others=$(grep -vE '^(ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s)\.so.*)$' <<< "$needed" || true)
if [ -n "$others" ]; then
  echo "$program needs" $others >&2
  exit 1
fi
echo "$program: glibc $newest;" $needed
