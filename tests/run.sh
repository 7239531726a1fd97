#!/usr/bin/env bash
# Builds and runs every test. The quick ones come first, so that a mistake shows early; the last thing printed is ctest's summary of the
# whole suite.
#
#   bash tests/run.sh [--quick] [--previous-release] [--packages] [--images] [--grafana] [--chart] [--kube] [--transformers]
#
#   --quick              only the release build's tests, without the sanitizers' builds
#   --previous-release   also federations of this and the previous release's programs (tests/compat/mixed_releases.sh)
#   --packages           also what is handed out, on fresh Debian systems (tests/package/distributions.sh); needs root
#   --images             also the container images, built by buildah on a fresh Debian (tests/package/images_test.py); needs root
#   --grafana            also the dashboards against Grafana's own types, from npm (tests/grafana/types.py)
#   --chart              also the Helm chart as helm renders it, against strict schemas; gets helm and kubeconform with Go
#   --kube               also the chart on a real cluster on this machine (tests/kube/kube_test.py), and writes what it measured to
#                        docs/reference/kubernetes_run.md; builds Kubernetes with Go, once; needs root
#   --transformers       also the model llama against Hugging Face's `transformers` (tests/golden/llama_transformers.py), from the Python
#                        index, with Debian's python3-torch where that is installed
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$(nproc)
quick=no
previous=no
packages=no
images=no
grafana=no
chart=no
kube=no
transformers=no
for argument in "$@"; do
  case "$argument" in
    --quick) quick=yes ;;
    --previous-release) previous=yes ;;
    --packages) packages=yes ;;
    --images) images=yes ;;
    --grafana) grafana=yes ;;
    --chart) chart=yes ;;
    --kube) kube=yes ;;
    --transformers) transformers=yes ;;
    -h | --help)
      sed -n '2,16s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      printf 'tests/run.sh: unknown argument %s (see --help)\n' "$argument" >&2
      exit 2
      ;;
  esac
done

started=$SECONDS
step() { printf '\n=== %s (after %d min %02d s)\n' "$*" $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }

# Ninja's thousand lines matter only when a build fails.
build() {
  local preset=$1 log=build/$1-build.log
  mkdir -p build
  if ! { cmake --preset "$preset" && cmake --build --preset "$preset" -j "$jobs"; } >"$log" 2>&1; then
    grep -E 'error|FAILED|CMake Error' -A 12 "$log" | head -n 120 || true
    tail -n 20 "$log"
    printf 'tests/run.sh: the %s build failed; the whole log is %s\n' "$preset" "$log" >&2
    exit 1
  fi
  tail -n 1 "$log"
}

step "packages"
bash deploy/install-deps.sh --tests

step "release build"
build release
step "quick tests"
ctest --preset release --parallel "$jobs" -LE 'e2e|helm' | tee build/quick-tests.log
# All that these need has just been installed: a check that skips itself would never run again, unseen.
if grep -F '***Skipped' build/quick-tests.log; then
  printf 'tests/run.sh: skipped, though its packages are installed; its output in build/release/Testing says why\n' >&2
  exit 1
fi

if [ "$quick" = no ]; then
  step "AddressSanitizer and UndefinedBehaviorSanitizer build"
  build asan
  ctest --preset asan --parallel "$jobs"
  step "ThreadSanitizer build"
  build tsan
  ctest --preset tsan --parallel "$jobs"
fi

if [ "$previous" = yes ]; then
  step "federations of two releases"
  bash tests/compat/mixed_releases.sh
fi

if [ "$packages" = yes ]; then
  step "what is handed out, on fresh systems"
  bash tests/package/distributions.sh
fi

if [ "$images" = yes ]; then
  step "container images"
  bash tests/package/build_images.sh
  python3 tests/package/images_test.py
fi

if [ "$grafana" = yes ]; then
  step "dashboards against Grafana's types"
  python3 tests/grafana/types.py
fi

if [ "$chart" = yes ]; then
  step "the chart, rendered"
  bash tests/chart/tools.sh
  ctest --preset release -L helm | tee build/chart-tests.log
  if grep -F '***Skipped' build/chart-tests.log; then
    exit 1
  fi
fi

if [ "$transformers" = yes ]; then
  step "llama against transformers"
  python3 -m venv --system-site-packages build/transformers
  # Debian's torch 1.13 is as old as what 4.46 still works with.
  if build/transformers/bin/python -c 'import torch' 2>/dev/null; then
    wanted=('transformers==4.46.3' 'numpy<2')
  else
    wanted=(transformers torch)
  fi
  if build/transformers/bin/pip install --quiet "${wanted[@]}"; then
    build/transformers/bin/python tests/golden/llama_transformers.py
  else
    printf 'tests/run.sh: skipped: the Python index could not be reached\n' >&2
  fi
fi

step "the chart on a real cluster"
if [ "$kube" = yes ]; then
  bash tests/kube/build.sh --apt
  python3 tests/kube/kube_test.py --record
else
  printf 'not run without --kube. '
  python3 tests/kube/record.py
fi

step "every test of the release build"
exec ctest --preset release --parallel "$jobs"
