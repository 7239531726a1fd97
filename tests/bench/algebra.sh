#!/usr/bin/env bash
# Speed, size and equality of the update algebra, in one go.
#
#   bash tests/bench/algebra.sh [--json FILE] [--build DIR]
#
# Builds algebra_bench (preset `algebra` unless a build folder is given), runs it and the PyTorch yardstick on one thread, and prints a
# table. --json writes: step_params_per_s, python_step_params_per_s, step_vs_python (both null without python3-torch), step_memcpy_fraction,
# apply_memcpy_fraction, accumulate_ms, commit_64_ms, commit_64_rss_ratio, commit_4096_rss_ratio, index_bits_over_bound, replicas_equal,
# and the parts. All ratios are of figures from this run. Times are CPU times of the thread, so other programs disturb them little.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
json=
build=
while [[ $# -gt 0 ]]; do
  case $1 in
    --json) json=${2:?--json needs a file}; shift 2 ;;
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    *) echo "unknown argument '$1'; usage: algebra.sh [--json FILE] [--build DIR]" >&2; exit 2 ;;
  esac
done
if [[ -z $build ]]; then
  build=$root/build/algebra
  (cd "$root" && cmake --preset algebra >/dev/null)
fi
cmake --build "$build" --target algebra_bench >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$build/tests/algebra_bench" --facts >"$work/facts.json"
"$build/tests/algebra_bench" --benchmark_repetitions=5 --benchmark_min_time=0.2 \
  --benchmark_out="$work/bench.json" --benchmark_out_format=json >/dev/null
python=python3
/usr/bin/python3 -c 'import torch' 2>/dev/null && python=/usr/bin/python3
OMP_NUM_THREADS=1 "$python" "$root/tests/bench/demo_reference_speed.py" >"$work/python.json"
"$python" "$root/tests/bench/algebra_report.py" "$work" "$json"
