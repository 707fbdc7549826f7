#!/usr/bin/env bash
# Training on a GPU, in two parts: `build` where there is a network, `measure` on the machine with the GPU, which needs
# its driver and a Python with PyTorch (whose wheels bring CUDA's libraries), no compiler and no network.
#
#   scripts/gpu-check.sh build                # target-gpu/carry.tar.xz, some 20 MB; takes minutes
#   scripts/gpu-check.sh measure              # where this checkout and that file are; under 8 minutes
#
# `build cpu` and `measure cpu` are the same without a GPU, to try the script (PROFILE=dev for a quick build).
#
# build reads   PROFILE (release), CUDA_COMPUTE_CAP (90), CUDA (13.0: what the driver of the machine knows)
# measure reads PYTHON (python3), OUT (target-gpu/out), CELLS (80576, of which 64,460 train), CURVE_CELLS (6000),
#               CURVE_EPOCHS (12), EPOCHS (the stage's default), STEPS (100, of each way of PyTorch's),
#               LIMIT (470 seconds in all; what would run longer is stopped, the whole runs come last)
#
# measure leaves in OUT: table.md, and what it is made of. It fails where a test fails, where a run does or is stopped,
# or where a loss on the device leaves the range of the CPU's seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=$PWD/target-gpu

# CUDA's compiler and libraries as wheels: a toolkit in $WORK/toolkit.
toolkit() {
  local cuda=${CUDA:-13.0}
  [ -x "$WORK/toolkit/bin/pip" ] || python3 -m venv "$WORK/toolkit"
  "$WORK/toolkit/bin/pip" install -q "nvidia-cuda-nvcc==$cuda.*" "nvidia-cuda-crt==$cuda.*" "nvidia-nvvm==$cuda.*" \
    "nvidia-cuda-runtime==$cuda.*" "nvidia-cuda-cccl==$cuda.*" "nvidia-cublas==$cuda.*" nvidia-curand \
    "nvidia-cuda-nvrtc==$cuda.*"
  TOOLKIT=$(echo "$WORK"/toolkit/lib/python3.*/site-packages/nvidia/cu"${cuda%%.*}")
  (
    cd "$TOOLKIT/lib"
    for name in cublas cublasLt curand nvrtc cudart; do
      local found=("lib$name".so.*)
      ln -sf "${found[0]}" "lib$name.so"
    done
    # The driver's library is not here: an empty one of its name, and its functions found when the program starts.
    echo | cc -shared -x c - -o libcuda.so -Wl,-soname,libcuda.so.1
  )
  ln -sfn lib "$TOOLKIT/lib64"
}

# What cargo says it built: the executable of a target.
executable() { # name
  sed -n 's/.*"executable":"\([^"]*\/'"$1"'-[0-9a-f]*\)".*/\1/p' | tail -n 1
}

build() { # device
  local profile=${PROFILE:-release} options=() tests bench
  if [ "$1" = cuda ]; then
    toolkit
    options=(--features cuda --target-dir target-cuda)
    export CUDA_HOME=$TOOLKIT CUDA_PATH=$TOOLKIT CUDA_ROOT=$TOOLKIT CUDA_TOOLKIT_ROOT_DIR=$TOOLKIT
    export NVCC=$TOOLKIT/bin/nvcc PATH=$TOOLKIT/bin:$PATH LIBRARY_PATH=$TOOLKIT/lib
    export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
    # Without the first three the linker leaves the empty library out, and the program would not ask for the driver's.
    export RUSTFLAGS="-L $TOOLKIT/lib -C link-arg=-Wl,--no-as-needed -C link-arg=-lcuda -C link-arg=-Wl,--as-needed -C link-arg=-Wl,--unresolved-symbols=ignore-all"
  fi
  # With the program itself, so that what is common is built for all three once.
  tests=$(cargo test --profile "$profile" -p clcc-flow -p clcc-align --lib --no-run --message-format json \
    ${options[@]+"${options[@]}"} | executable clcc_align)
  bench=$(cargo bench --profile "$profile" -p clcc-flow -p clcc-stages --bench train --no-run --message-format json \
    ${options[@]+"${options[@]}"} | executable train)
  rm -rf "$WORK/carry"
  mkdir -p "$WORK/carry"
  strip -o "$WORK/carry/tests" "$tests"
  strip -o "$WORK/carry/train" "$bench"
  tar -C "$WORK" -cJf "$WORK/carry.tar.xz" carry
  ls -l "$WORK/carry.tar.xz"
}

# Folders of CUDA's libraries that PyTorch's wheels brought.
libraries() {
  "$PYTHON" -c '
import glob, os, site
folders = {os.path.dirname(f) for s in site.getsitepackages() for f in glob.glob(s + "/nvidia/**/lib*.so.*", recursive=True)}
print(":".join(sorted(folders)))'
}

failed=0
part() { # name, seconds at most, command...: its output in OUT/name.txt, its time in OUT/seconds.txt
  local name=$1 left=$((${LIMIT:-470} - SECONDS)) started=$SECONDS
  [ "$left" -le "$2" ] || left=$2
  shift 2
  printf '== %s\n' "$name"
  if [ "$left" -gt 0 ] && timeout "$left" "$@" >"$OUT/$name.txt" 2>"$OUT/$name.err"; then
    grep . "$OUT/$name.txt" | tail -n 1 | cut -c 1-200
  else
    failed=1
    printf 'FAILED: %s\n' "$name"
    tail -n 5 "$OUT/$name.txt" "$OUT/$name.err"
  fi
  printf '%s\t%s\n' "$name" "$((SECONDS - started))" >>"$OUT/seconds.txt"
}

measure() { # device
  local device=$1 precisions=full hows="eager fair" smi=
  PYTHON=${PYTHON:-python3} OUT=${OUT:-$WORK/out}
  mkdir -p "$OUT"
  rm -f "$OUT"/*.txt "$OUT"/*.err "$OUT/table.md"
  tar -C "$WORK" -xJf "$WORK/carry.tar.xz"
  if [ "$device" = cuda ]; then
    precisions=full,mixed hows="eager fair compiled bf16"
    LD_LIBRARY_PATH=$(libraries):${LD_LIBRARY_PATH:-}
    export LD_LIBRARY_PATH
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader >"$OUT/card.txt"
  fi
  export CLCC_BENCH_WHOLE=1

  part tests 60 env CLCC_TEST_DEVICE="$device" "$WORK/carry/tests" train::
  # Twice `cpu` where that is the device: the second is then the first, to the bit.
  part curves 100 env CLCC_BENCH_DEVICE="cpu,$device" CLCC_BENCH_SEEDS=1,2,3 CLCC_BENCH_CELLS="${CURVE_CELLS:-6000}" \
    CLCC_BENCH_EPOCHS="${CURVE_EPOCHS:-12}" "$WORK/carry/train"
  local cells=${CELLS:-80576} how
  for how in $hows; do
    part "torch-$how" 90 "$PYTHON" stages/benches/peers/train.py "$((cells * 4 / 5))" 18965 1305 "$how" "$device" \
      "${STEPS:-100}"
  done
  if [ "$device" = cuda ]; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -l 1 >"$OUT/memory.txt" &
    smi=$!
  fi
  part whole 470 env CLCC_BENCH_DEVICE="$device" CLCC_BENCH_PRECISION="$precisions" CLCC_BENCH_CELLS="$cells" \
    ${EPOCHS:+CLCC_BENCH_EPOCHS="$EPOCHS"} "$WORK/carry/train"
  [ -z "$smi" ] || kill "$smi"
  "$PYTHON" scripts/gpu_table.py "$OUT" "$device" || failed=1
  cat "$OUT/table.md"
  return "$failed"
}

case "${1:-} ${2:-cuda}" in
"build cuda" | "build cpu") build "${2:-cuda}" ;;
"measure cuda" | "measure cpu") measure "${2:-cuda}" ;;
*)
  sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
