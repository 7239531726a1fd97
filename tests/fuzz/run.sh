#!/usr/bin/env bash
# Fuzzes every decoder of optim/ with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer.
#   tests/fuzz/run.sh [--service] [--seconds N] [TARGET...]     N seconds in all (default 60), shared by the targets
#   --service    the decoders of the service and of the worker instead; needs all that the service is built with
#   TARGET       these alone
# Needs Clang with libFuzzer (Debian: clang-14 and libclang-rt-14-dev). Exits 0 without a finding; else leaves the input under
# build/fuzz/findings and says so; add it to tests/fuzz/corpus/TARGET.txt, where the ordinary test tries it from then on.
set -euo pipefail

seconds=60
service=OFF
chosen=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --seconds) seconds="${2:?--seconds needs a number}"; shift 2 ;;
    --service) service=ON; shift ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "tests/fuzz/run.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
    *) chosen+=("$1"); shift ;;
  esac
done
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "tests/fuzz/run.sh: --seconds takes a whole number above 0, not $seconds" >&2; exit 2; }

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
build="$root/build/fuzz"
[[ "$service" = OFF ]] || build="$root/build/fuzz-service"
compiler=""
for candidate in clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14; do
  if command -v "$candidate" >/dev/null; then compiler="$candidate"; break; fi
done
if [[ -z "$compiler" ]]; then
  echo "tests/fuzz/run.sh: no clang++ here; install it (Debian: apt-get install clang-14 libclang-rt-14-dev)" >&2
  exit 2
fi

targets=(payload commit snapshot update apply state partial safetensors)
[[ "$service" = OFF ]] || targets=(http2 certificate request spiffe yaml proof columns token head saved data tokens image coordinator)
[[ ${#chosen[@]} -eq 0 ]] || targets=("${chosen[@]}")
cmake -G Ninja -S "$root" -B "$build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link -DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -DTRIBUTARY_SERVICE="$service" \
  -DTRIBUTARY_TORCH="$service" -DTRIBUTARY_SANITIZE=address -DTRIBUTARY_FUZZ=ON >/dev/null
cmake --build "$build" --target "${targets[@]/#/fuzz_}" >&2

share=$(( (seconds + ${#targets[@]} - 1) / ${#targets[@]} ))
findings="$build/findings"
mkdir -p "$findings"
for target in "${targets[@]}"; do
  corpus="$build/corpus/$target"
  mkdir -p "$corpus"
  TRIBUTARY_FUZZ_SEEDS="$corpus" "$build/bin/fuzz_$target" >/dev/null
  log="$build/fuzz_$target.log"
  if ! "$build/bin/fuzz_$target" -max_total_time="$share" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
      -artifact_prefix="$findings/$target-" -print_final_stats=1 "$corpus" >"$log" 2>&1; then
    tail -40 "$log" >&2
    echo "tests/fuzz/run.sh: $target: FINDING; input in $findings, log in $log" >&2
    exit 1
  fi
  runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  echo "$target: $share s, $runs inputs, no finding"
done
