"""What `pipeline: 1` buys over a long line: seconds a round without and with it, on the same machine, in one go.

    python3 tests/bench/pipeline_bench.py [--rtt SECONDS] [--megabits N] [--rounds N] [--batches N ...] [--json FILE]

Two sites at one end of a line (tests/e2e/link.py; needs root), the coordinator at the other; real processes, mTLS, real training. Each
batch size is a setting of its own: it decides how long a round's computing takes, and pipelining hides the shorter of computing and
travelling behind the longer one. Every setting is run four times, without, with, with, without, so that a machine that becomes slower or
faster favours neither.

Fails if the two runs of a kind do not end with the same hash, or if a round moves other bytes with pipelining than without.
"""

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import chaos_kit  # noqa: E402  (found through the line above)
import harness  # noqa: E402
import link  # noqa: E402

SITES = ("alpha", "beta")
MEGABIT = 125_000  # bytes
WARM_UP = 5  # rounds: connections, caches, a pipeline that fills
# Updates are coded with as many bits as their values need, and two models differ.
TOLERANCE = 0.01


def measure(chaos, line, batch, rounds, pipeline):
    """One run: its final hash, seconds a round, payload bytes a round, and the seconds a site computes in one."""
    spec = chaos.spec(SITES, rounds=rounds, pipeline=pipeline, data={"batch_size": batch},
                      model={"gpt": {"layers": 2, "heads": 4, "width": 256, "context": 32}}, optimizer={"k": 32},
                      evaluation={"every": 100_000, "batches": 1})
    parties = chaos.make(*SITES, listen=f"{link.HUB}:{harness.lasting_port()}")
    parties.command_prefix = line.prefix(link.HUB)
    parties.start_coordinator(prefix=line.prefix(link.HUB))
    parties.write_operator_config()
    for site in SITES:
        parties.write_worker_config(site, parties.directory / "data" / site)
        parties.start_worker(site, prefix=line.prefix(link.SITE))
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    state_hash = chaos.finish(parties, spec, timeout=60 * rounds)
    first, last = (log.find(rf"round {number} committed")[0] for number in (WARM_UP, rounds))
    history = [record for record in parties.history(spec["name"]) if int(record.get("round", 0)) > WARM_UP]
    parameters = int(parties.status(spec["name"])["parameters"])
    chaos.end_scenario()

    def mean(key):
        return sum(float(record.get(key, 0)) for record in history) / len(history)

    return {"hash": state_hash, "seconds": (last - first) / (rounds - WARM_UP), "parameters": parameters,
            "compute": mean("compute_seconds"), "payload_up": mean("payload_bytes_up"), "payload_down": mean("payload_bytes_down")}


def setting(chaos, line, batch, rounds):
    """The four runs of one batch size, judged and summed up."""
    runs = {0: [], 1: []}
    for pipeline in (0, 1, 1, 0):
        runs[pipeline].append(measure(chaos, line, batch, rounds, pipeline))
        print(f"  batch {batch}, pipeline {pipeline}: {runs[pipeline][-1]['seconds']:.3f} s a round", file=sys.stderr, flush=True)
    for pipeline, (one, other) in runs.items():
        if one["hash"] != other["hash"]:
            raise chaos_kit.Mismatch(f"batch {batch}, pipeline {pipeline}: ended with {one['hash']} and with {other['hash']}")

    def mean(pipeline, key):
        return sum(run[key] for run in runs[pipeline]) / 2

    for key in ("payload_up", "payload_down"):
        if abs(mean(1, key) / mean(0, key) - 1) > TOLERANCE:
            raise chaos_kit.Mismatch(f"batch {batch}: {key} {mean(1, key):.0f} bytes a round with pipelining, {mean(0, key):.0f} without")
    plain, pipelined = mean(0, "seconds"), mean(1, "seconds")
    return {"batch": batch, "parameters": runs[0][0]["parameters"], "compute_seconds": round(mean(0, "compute"), 3),
            "seconds": round(plain, 3), "seconds_pipelined": round(pipelined, 3), "ratio": round(plain / pipelined, 2),
            "payload_up": round(mean(0, "payload_up")), "payload_up_pipelined": round(mean(1, "payload_up")),
            "payload_down": round(mean(0, "payload_down")), "payload_down_pipelined": round(mean(1, "payload_down"))}


def main():
    parser = argparse.ArgumentParser(description="Seconds a round without and with `pipeline: 1`, over a long line.")
    parser.add_argument("--rtt", type=float, default=0.2, metavar="SECONDS", help="there and back")
    parser.add_argument("--megabits", type=float, default=10, metavar="N", help="a second, each way")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 20, 80, 240], metavar="N",
                        help="sequences a site learns from in one round")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.rounds <= WARM_UP:
        parser.error(f"--rounds: more than {WARM_UP}")
    if reason := link.missing():
        print(f"skipped: {reason}")
        return 77
    load = os.getloadavg()[0]
    chaos = chaos_kit.Chaos(long=False, seed=1, shim="")
    line = link.Link(seed=1)
    line.delay, line.rate = options.rtt / 2, options.megabits * MEGABIT
    try:
        settings = [setting(chaos, line, batch, options.rounds) for batch in options.batches]
    finally:
        chaos.end_scenario()
        line.close()
        chaos.close()
    print(f"{settings[0]['parameters']} parameters, {options.rtt * 1000:g} ms there and back, {options.megabits:g} Mbit/s, "
          f"{len(SITES)} sites, load before: {load:.1f}")
    print("batch  computing  a round  pipelined  ratio   bytes up, down (pipelined)")
    for row in settings:
        print(f"{row['batch']:5}  {row['compute_seconds']:7.3f} s {row['seconds']:6.3f} s {row['seconds_pipelined']:8.3f} s "
              f"{row['ratio']:6.2f}   "
              f"{row['payload_up']}, {row['payload_down']} ({row['payload_up_pipelined']}, {row['payload_down_pipelined']})")
    if options.json:
        figures = {"rtt_seconds": options.rtt, "megabits": options.megabits, "rounds": options.rounds, "load_before": load,
                   "settings": settings}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
