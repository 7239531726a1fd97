#!/usr/bin/env bash
# Federations of this release's programs and the previous one's, in one run: every model must be the one that this release makes alone.
#
#   bash tests/compat/mixed_releases.sh
#
# The previous release is the commit in tests/compat/previous_release; it is built in build/previous-release. TRIBUTARY_PREVIOUS_BIN names
# a folder that has its programs already. TRIBUTARY_BIN names this release's (default: build/release/bin).
# Ends with 77, and says why, where the history lacks the commit.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
read -r commit version <tests/compat/previous_release
export TRIBUTARY_BIN=${TRIBUTARY_BIN:-$PWD/build/release/bin}

if [ -z "${TRIBUTARY_PREVIOUS_BIN:-}" ]; then
  if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    printf 'skipped: this history does not have release %s (%s); fetch it: git fetch --unshallow\n' "$version" "$commit"
    exit 77
  fi
  source=build/previous-release/$commit
  if [ ! -d "$source" ]; then
    rm -rf build/previous-release
    mkdir -p "$source.part"
    git archive "$commit" | tar -x -C "$source.part"
    mv "$source.part" "$source"
  fi
  printf 'building release %s in %s\n' "$version" "$source"
  programs=(tributary tributary-coordinator tributary-worker)
  (cd "$source" && cmake --preset release && cmake --build --preset release -j "$(nproc)" --target "${programs[@]}") \
    >build/previous-release/build.log 2>&1 || {
    tail -n 30 build/previous-release/build.log
    printf 'tests/compat/mixed_releases.sh: release %s does not build; the whole log is build/previous-release/build.log\n' "$version" >&2
    exit 1
  }
  export TRIBUTARY_PREVIOUS_BIN=$PWD/$source/build/release/bin
fi

python3 tests/compat/mixed_releases.py
