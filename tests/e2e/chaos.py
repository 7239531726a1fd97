"""Real processes, real faults: every scenario, its outcome and its figures.

    bash tests/e2e/chaos.sh [--long [--allow-skips]] [--json FILE] [--only NAME ...] [--seed N] [--list]

The short form takes about a minute and a half, the long form about twenty. Exit code 0: every scenario passed (short form and
--allow-skips: or was skipped); 1: one failed; 3: long form, one was skipped; 77: all were skipped. What the figures
mean: docs/explanation/reliability.md.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time
import traceback

import harness

import chaos_crashes
import chaos_network
import chaos_storage
from chaos_kit import Chaos, Skip, percentiles

# What the long form promises is that everything was tried: a machine that cannot try it must not look like one where it passed.
EXIT_FAILED, EXIT_INCOMPLETE, EXIT_ALL_SKIPPED = 1, 3, 77

# name -> (scenario, in the short form too)
SCENARIOS = {
    "coordinator_at_crash_points": (chaos_crashes.crash_points, True),
    "coordinator_at_crash_points_of_a_recovery": (chaos_crashes.crash_points_of_a_recovery, False),
    "truncation_at_crash_points": (chaos_crashes.truncation_at_crash_points, True),
    "restore_at_crash_points": (chaos_crashes.restore_at_crash_points, False),
    "upgrade_at_crash_points": (chaos_crashes.upgrade_at_crash_points, True),
    "coordinator_at_random_times": (chaos_crashes.coordinator_at_random_times, True),
    "coordinator_at_random_times_pipelined": (chaos_crashes.coordinator_at_random_times_pipelined, False),
    "workers_at_random_times_distro": (chaos_crashes.workers_distro, True),
    "workers_at_random_times_local": (chaos_crashes.workers_local, True),
    "workers_at_random_times_pipelined": (chaos_crashes.workers_pipelined, False),
    "workers_at_random_times_local_pipelined": (chaos_crashes.workers_local_pipelined, False),
    "workers_at_random_times_sparing": (chaos_crashes.workers_sparing, True),
    "workers_at_crash_points": (chaos_crashes.workers_at_crash_points, True),
    "workers_at_crash_points_sparing": (chaos_crashes.workers_at_crash_points_sparing, False),
    "drain_and_restart": (chaos_crashes.drain_and_restart, True),
    "slow_line": (chaos_network.slow_line, True),
    "cut_line": (chaos_network.cut_line, True),
    "cut_snapshot": (chaos_network.cut_snapshot, False),
    "full_disk_coordinator": (chaos_storage.full_disk_coordinator, True),
    "full_disk_worker": (chaos_storage.full_disk_worker, True),
    "stopped_coordinator": (chaos_crashes.stopped_coordinator, True),
    "stopped_worker": (chaos_crashes.stopped_worker, True),
    "restart_of_a_large_run": (chaos_storage.restart_of_a_large_run, False),
    "rejoin": (chaos_network.rejoin, True),
}


def arguments():
    parser = argparse.ArgumentParser(prog="chaos.sh", description="Injects faults into real federations on this machine.")
    parser.add_argument("--long", action="store_true", help="every crash point, 100 kills, slow links: about twenty minutes")
    parser.add_argument("--allow-skips", action="store_true", help="with --long: a scenario that cannot run here is not an error")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help="only these scenarios")
    parser.add_argument("--seed", type=int, default=1, help="of all random moments and choices")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    return parser.parse_args()


def run(name, scenario, chaos):
    """One scenario; what the report says of it."""
    print(f"{name} ...", flush=True)
    started = time.monotonic()
    entry = {"name": name, "outcome": "passed"}
    kills = chaos.kills()
    try:
        entry["figures"] = scenario(chaos)
        chaos.figures["kills_survived"] += chaos.kills() - kills
    except Skip as skip:
        entry.update(outcome="skipped", reason=str(skip))
    except Exception as error:  # the others still run, and the report says what went wrong here
        entry.update(outcome="failed", reason=str(error))
        traceback.print_exc()
        print("\n".join(chaos.logs()), file=sys.stderr)
    finally:
        chaos.end_scenario()
    entry["seconds"] = round(time.monotonic() - started, 1)
    print(f"{name}: {entry['outcome']} ({entry['seconds']} s) {entry.get('reason', '')}{json.dumps(entry.get('figures', ''))}", flush=True)
    return entry


def report(chaos, entries, seconds):
    outcomes = [entry["outcome"] for entry in entries]
    restart = percentiles(entry["session"] for entry in chaos.restarts)
    return {
        **chaos.figures,
        "restart_seconds_p50": restart.get("p50"),
        "restart_seconds_max": restart.get("max"),
        "final_hashes_equal": chaos.figures["hashes_unequal"] == 0 and chaos.figures["hashes_compared"] > 0,
        "form": "long" if chaos.long else "short",
        "seed": chaos.seed,
        "seconds": round(seconds, 1),
        "passed": outcomes.count("passed"),
        "failed": outcomes.count("failed"),
        "skipped": [{"name": entry["name"], "reason": entry["reason"]} for entry in entries if entry["outcome"] == "skipped"],
        "scenarios": entries,
    }


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through `finally`, so that nothing stays behind
    if options.list:
        print("\n".join(f"{name}: {scenario.__doc__.splitlines()[0]}" for name, (scenario, _) in SCENARIOS.items()))
        return 0
    shim = os.environ.get("TRIBUTARY_CRASH_SHIM", harness.BINARIES.parent / "tests" / "libcrash_at.so")
    chosen = options.only or [name for name, (_, short) in SCENARIOS.items() if short or options.long]
    chaos = Chaos(options.long, options.seed, shim)
    print(f"seed {options.seed}; programs of {harness.BINARIES}", flush=True)
    started = time.monotonic()
    try:
        entries = [run(name, SCENARIOS[name][0], chaos) for name in chosen]
    finally:
        chaos.end_scenario()
        chaos.close()
    result = report(chaos, entries, time.monotonic() - started)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "scenarios"}))
    if result["failed"]:
        return EXIT_FAILED
    if options.long and not options.allow_skips and result["skipped"]:
        return EXIT_INCOMPLETE
    return EXIT_ALL_SKIPPED if result["passed"] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
