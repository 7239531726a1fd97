"""How long a round takes when training takes nearly nothing: seconds, processor time, memory and bytes, and where the time goes.

    python3 tests/bench/rounds.py [--only 1M/distro ...] [--sites N] [--rounds N] [--state-in-memory] [--persist every_round] [--peers]
                                  [--json FILE]

A real coordinator and 8 real workers, mTLS over loopback, a table model, batches of one row. A case is SIZE/MODE. "Seconds a round" is
the time from the coordinator's "starts" to its "finished", divided by the rounds: synchronising the sites, the first round and the last
state's snapshot are in it. The first round is given beside it, and the median round as the coordinator measured it. The breakdown is the
programs' own histograms (docs/reference/metrics.md), mean per round; at the workers, mean over the sites too, and what runs beside the
wait for others is not told apart from what is waited for.

Other programs on the machine disturb seconds more than processor seconds: the load is written down, and processor seconds are given for
each program. `--peers` measures Flower and NVFlare in the same run (rounds_peers.py).
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import chaos_kit  # noqa: E402  (found through the line above)
import harness  # noqa: E402
import rounds_peers  # noqa: E402
from harness import federation  # noqa: E402

DEFAULT_SITES = 8
INPUTS, OUTPUTS, ROWS = 4, 2, 64
HIDDEN = {"1M": [1000, 992], "25M": [5000, 4990]}
MODES = ("distro", "allreduce", "fedavg")
ROUNDS = {"1M": 40, "25M": 10}
_TICKS = os.sysconf("SC_CLK_TCK")
_METRIC = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


def parameters(size):
    widths = [INPUTS, *HIDDEN[size], OUTPUTS]
    return sum((before + 1) * after for before, after in zip(widths, widths[1:]))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", text)[1])


def _get(url):
    with urllib.request.urlopen(url, timeout=10) as page:
        return page.read().decode("utf-8")


def metrics(address):
    """{name{labels}: value} of a metrics page."""
    lines = (_METRIC.match(line) for line in _get(f"http://{address}/metrics").splitlines())
    return {match[1] + (f"{{{match[2]}}}" if match[2] else ""): float(match[3]) for match in lines if match}


def phases(page, name):
    """{phase: (seconds, observations)} of a histogram."""
    found = {}
    for key, value in page.items():
        match = re.fullmatch(name + r'_(sum|count)\{phase="(\w+)"\}', key)
        if match:
            found.setdefault(match[2], {})[match[1]] = value
    return {phase: (value["sum"], value["count"]) for phase, value in found.items()}


class Sampled:
    """A program's processor seconds while the run lasted, and its peak of memory."""

    def __init__(self, pid):
        self.pid = pid
        self.before = cpu_seconds(pid)

    def cpu(self):
        return cpu_seconds(self.pid) - self.before

    def peak(self):
        return peak_bytes(self.pid)


def run_spec(size, mode, rounds, sites):
    return {
        "name": f"rounds-{size.lower()}-{mode}",
        "rounds": rounds,
        "model": {"mlp": {"inputs": INPUTS, "hidden": HIDDEN[size], "outputs": OUTPUTS}},
        "data": {"kind": "csv", "label_column": "label", "batch_size": 1},
        "optimizer": {"mode": mode, "learning_rate": {"peak": 0.001, "kind": "constant"}},
        "participation": {"min_workers": sites, "quorum": 1.0, "min_deadline": "60s", "max_deadline": "10m", "wait_timeout": "10m"},
        "evaluation": {"every": 1_000_000, "batches": 1},
    }


def write_table(folder, seed):
    folder.mkdir(parents=True)
    rows = ["a,b,c,d,label"] + [f"{row + seed},{row % 7},{row % 5},{row % 3},{row % OUTPUTS}" for row in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def measure(size, mode, rounds, folder, options):
    """One case: its figures."""
    sites = tuple(f"site{number}" for number in range(1, options.sites + 1))
    parties = federation.Federation(folder, harness.BINARIES, sites, name="rounds")
    try:
        parties.make_pki()
        parties.write_coordinator_config()
        coordinator = parties.start_coordinator()
        parties.write_operator_config()
        overrides = {"metrics_listen": "127.0.0.1:0", "threads": 1} | ({"persist": options.persist} if options.persist else {})
        for number, site in enumerate(sites):
            write_table(parties.directory / "data" / site, number)
            if options.state_in_memory:
                overrides["state_dir"] = f"{options.memory_folder}/{site}"
            parties.write_worker_config(site, parties.directory / "data" / site, **overrides)
            parties.start_worker(site)
        log = chaos_kit.Log(coordinator.log_path)
        pages = {}
        for site in sites:
            workers_log = chaos_kit.Log(parties.processes[f"worker-{site}"].log_path)
            workers_log.offset = 0
            pages[site] = workers_log.wait(r"metrics at http://(\S+)/metrics", 60)[1][1]
            workers_log.wait(r"connected to the coordinator", 60)
        sampled = {name: Sampled(process.popen.pid) for name, process in parties.processes.items()}
        spec = run_spec(size, mode, rounds, options.sites)
        load = os.getloadavg()[0]
        parties.submit(parties.write_yaml("run.yaml", spec))
        finished, _ = log.wait(r"run \S+ finished", 120 * rounds)
        started, _ = log.find(r"run \S+ starts")
        cpu = {name: process.cpu() for name, process in sampled.items()}
        workers = [name for name in sampled if name != "coordinator"]
        history = [record for record in parties.history(spec["name"]) if int(record.get("round", 0)) > 0]
        durations = [float(record["duration"]) for record in history]
        page = metrics(parties.endpoints()["metrics"])
        at_workers = [phases(metrics(address), "tributary_worker_step_seconds") for address in pages.values()]
        figures = {
            "parameters": parameters(size),
            "rounds": rounds,
            "seconds_a_round": (finished - started) / rounds,
            "first_round_seconds": durations[0],
            "median_round_seconds": statistics.median(durations[1:]),
            "coordinator_cpu_a_round": cpu["coordinator"] / rounds,
            "worker_cpu_a_round": statistics.mean(cpu[name] for name in workers) / rounds,
            "coordinator_peak_bytes": sampled["coordinator"].peak(),
            "worker_peak_bytes": max(sampled[name].peak() for name in workers),
            "coordinator_disk_bytes": sum(path.stat().st_size for path in parties.data_dir.rglob("*") if path.is_file()),
            "bytes_up_a_round": statistics.mean(int(record["bytes_up"]) for record in history[1:]),
            "bytes_down_a_round": statistics.mean(int(record["bytes_down"]) for record in history[1:]),
            "coordinator": {phase: seconds / rounds for phase, (seconds, _) in phases(page, "tributary_round_phase_seconds").items()},
            "worker": {phase: statistics.mean(one[phase][0] for one in at_workers) / rounds for phase in at_workers[0]},
            "load_before": load,
        }
        return {key: _rounded(value) for key, value in figures.items()}
    finally:
        parties.close()
        parties.remove()


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def describe(case, figures):
    """The lines that a person reads of one case."""

    def listed(names):
        return ", ".join(f"{phase} {1000 * seconds:.1f}" for phase, seconds in names.items() if seconds >= 0.00005)

    return (f"{case:15} {figures['seconds_a_round']:7.3f} s a round (first {figures['first_round_seconds']:.3f}, median "
            f"{figures['median_round_seconds']:.3f}); processor: coordinator {figures['coordinator_cpu_a_round']:.3f} s, a worker "
            f"{figures['worker_cpu_a_round']:.3f} s; peak: coordinator {figures['coordinator_peak_bytes'] / 1e6:.0f} MB, a worker "
            f"{figures['worker_peak_bytes'] / 1e6:.0f} MB; load {figures['load_before']:.1f}\n"
            f"                coordinator, ms: {listed(figures['coordinator'])}\n"
            f"                worker, ms: {listed(figures['worker'])}")


def main():
    cases = [f"{size}/{mode}" for size in HIDDEN for mode in MODES]
    parser = argparse.ArgumentParser(description="Seconds a round with nearly no training, and where they go.")
    parser.add_argument("--only", nargs="+", choices=cases, default=cases, metavar="SIZE/MODE", help=", ".join(cases))
    parser.add_argument("--sites", type=int, default=DEFAULT_SITES, metavar="N", help=f"workers; default: {DEFAULT_SITES}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of each case; default: {ROUNDS}")
    parser.add_argument("--state-in-memory", action="store_true", help="state_dir of the workers in /dev/shm: without the disk's limit")
    parser.add_argument("--persist", help="`persist` of worker.yaml; default: its default")
    parser.add_argument("--peers", action="store_true", help="measure Flower and NVFlare too, from the Python index")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 2:
        parser.error("--rounds: at least 2, for the first is told apart")
    report = {"sites": options.sites, "processors": os.cpu_count(), "state_in_memory": options.state_in_memory, "persist": options.persist,
              "cases": {}}

    def store():
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    for case in options.only:
        size, _, mode = case.partition("/")
        with tempfile.TemporaryDirectory(prefix="tributary-rounds-") as folder, \
                tempfile.TemporaryDirectory(prefix="tributary-rounds-", dir="/dev/shm") as memory:
            options.memory_folder = memory
            report["cases"][case] = measure(size, mode, options.rounds or ROUNDS[size], pathlib.Path(folder) / "rounds", options)
        print(describe(case, report["cases"][case]), flush=True)
        store()
    if options.peers:
        sizes = sorted({case.partition("/")[0] for case in options.only}, key=list(HIDDEN).index)
        report["peers"] = {size: rounds_peers.measure(parameters(size), options.sites, options.rounds or ROUNDS[size]) for size in sizes}
        for size, peers in report["peers"].items():
            for name, figures in peers.items():
                print(f"{size}, {name}: {json.dumps(figures)}", flush=True)
        store()
    return 0


if __name__ == "__main__":
    sys.exit(main())
