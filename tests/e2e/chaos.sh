#!/usr/bin/env bash
# Injects faults into real federations on this machine and reports the outcome; see tests/e2e/chaos.py and
# docs/explanation/reliability.md.
#
#   bash tests/e2e/chaos.sh [--long [--allow-skips]] [--json FILE] [--only NAME ...] [--seed N] [--list]
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/chaos.py" "$@"
