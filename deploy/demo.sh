#!/usr/bin/env bash
# One command trains one model across several sites: installs what is needed, builds, and runs a federation on this machine.
#
#   bash deploy/demo.sh [--rounds N] [--workers N] [--optimizer distro|demo|allreduce|local]
#                       [--baseline] [--work-dir DIR] [--keep] [--format text|json]
#
#   --rounds N       rounds to train (default: what fits into about two minutes on two idle cores)
#   --workers N      sites, each with a worker of its own (default 4)
#   --optimizer NAME what travels: distro (default), demo (as published), local (several steps a round), allreduce (dense baseline)
#   --baseline       also train with AdamW and dense gradients, to compare with (takes as long again, or longer)
#   --work-dir DIR   where report.html, rounds.csv, summary.json and model.safetensors go (default build/demo)
#   --keep           keep keys, data, journal and logs too when all went well
#   --format json    print summary.json instead of the table
#
# Ctrl-C ends everything it started.
set -euo pipefail

# A script cannot trap a signal that was ignored when it started, as SIGINT is for `bash deploy/demo.sh &`; so it starts once more.
if [ -z "${TRIBUTARY_DEMO_RESTARTED:-}" ] && [ $((0x$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/$$/status) & 2)) -ne 0 ]; then
  TRIBUTARY_DEMO_RESTARTED=1 exec perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' bash "${BASH_SOURCE[0]}" "$@"
fi

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      sed -n '2,15s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
  esac
done

say() { printf '%s\n' "$*" >&2; }

# Runs a step so that a signal to this script alone ends the step too: the step is a job with a process group of its own, and `wait`
# (unlike a foreground command) lets the trap run at once.
step_pid=
stop_step() {
  trap - INT TERM HUP
  if [ -n "$step_pid" ]; then
    kill -TERM -- "-$step_pid" 2>/dev/null || true
    wait "$step_pid" 2>/dev/null || true
  fi
  say "demo: interrupted"
  exit "$1"
}
trap 'stop_step 130' INT
trap 'stop_step 143' TERM
trap 'stop_step 129' HUP
run_step() {
  set -m
  "$@" </dev/null &
  step_pid=$!
  set +m
  local status=0
  wait "$step_pid" || status=$?
  step_pid=
  return "$status"
}

# Wrong arguments are said before anything that takes minutes (where there is no Python yet, after it).
if command -v python3 >/dev/null; then
  python3 "$root_dir/deploy/demo.py" --check-arguments "$@"
fi

if ! bash "$root_dir/deploy/install-deps.sh" --check >/dev/null; then
  say "demo: installing packages"
  if [ "$(id -u)" -eq 0 ]; then
    run_step bash "$root_dir/deploy/install-deps.sh" >&2
  else
    # In the foreground, where sudo can ask for a password.
    bash "$root_dir/deploy/install-deps.sh" >&2
  fi
fi

build_log=$root_dir/build/demo-build.log
mkdir -p "$root_dir/build"
say "demo: building (log: ${build_log#"$root_dir"/})"
build() {
  cd "$root_dir"
  cmake --preset release >"$build_log" 2>&1 || return
  if [ -t 2 ]; then
    # Ninja's own counter, on one line. `set -e` is off in here, so the pipeline's status is kept by hand.
    local status=0
    cmake --build --preset release --target tributary-coordinator tributary-worker tributary 2>&1 | tee -a "$build_log" |
      while IFS= read -r line; do
        case "$line" in \[*) printf '\r\033[K%.100s' "$line" >&2 ;; esac
      done || status=$?
    printf '\r\033[K' >&2
    return "$status"
  else
    cmake --build --preset release --target tributary-coordinator tributary-worker tributary >>"$build_log" 2>&1
  fi
}
if ! run_step build; then
  tail -n 30 "$build_log" >&2
  say "demo: the build failed; the whole log is $build_log"
  exit 1
fi

exec python3 "$root_dir/deploy/demo.py" --binaries "$root_dir/build/release/bin" "$@"
