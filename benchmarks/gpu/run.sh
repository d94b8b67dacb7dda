#!/usr/bin/env bash
# One part of the GPU benchmark, from a clone, without a network:
#   benchmarks/gpu/run.sh --part=check|t5|dpo|attention|decode|sentiment
# docs/gpu.md has the flags. PYTHON names the interpreter; GPU_SECONDS is when
# a part is cut off, with the page of what it has measured already written.
set -euo pipefail

absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

python=${PYTHON:-python3}
words=()
wheels=
for word in "$@"; do
  case $word in
    --wheels=*) wheels=$(absolute "${word#*=}") ;;
    --out=* | --weights=*) words+=("${word%%=*}=$(absolute "${word#*=}")") ;;
    *) words+=("$word") ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
if [ -n "$wheels" ]; then
  # dill, which datasets hashes with, copies whole what it takes for modules of
  # the user: all that are not under a folder of this name.
  made=$(mktemp -d)
  trap 'rm -rf "$made"' EXIT
  site=$made/site-packages
  "$python" -m pip install --quiet --no-index --no-deps --no-compile \
    --target "$site" "$wheels"/*.whl
  export PYTHONPATH=$site:$PYTHONPATH
fi
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-.92}
case " $* " in
  *" --part=check "*) # a resumption is compared to the bit
    export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_deterministic_ops=true" ;;
esac
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
timeout --signal=INT --kill-after=20 "${GPU_SECONDS:-540}" \
  "$python" -m benchmarks.gpu "${words[@]}"
