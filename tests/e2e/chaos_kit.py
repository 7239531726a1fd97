"""What the scenarios of chaos.py share: federations that end when the scenario does, reference runs, and restarts measured from the log.

A scenario is a function of a Chaos; it returns its figures, raises Skip with a reason, or fails with any other exception.
"""

import calendar
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import harness
import link
from harness import federation

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z ")
_METRIC = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
# Every update counts: a round waits for all its members, however long they take.
STRICT = {"quorum": 1.0, "min_deadline": "1s", "max_deadline": "60s", "wait_timeout": "3m"}


class Skip(Exception):
    """Why a scenario cannot run here."""


class Mismatch(Exception):
    """What should have been equal and is not."""


def pause(seconds):
    """A fault of this length, or a moment chosen at random; never a wait for something to happen."""
    threading.Event().wait(seconds)


class Log:
    """The lines that a program has written since `mark`, with their times."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.offset = 0
        self.mark()

    def mark(self):
        self.offset = self.path.stat().st_size if self.path.exists() else 0

    def text(self):
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read().decode("utf-8", "replace")

    def find(self, pattern, after=None):
        """(Unix time, match) of the first line that `pattern` finds and that is not before the time `after`; None if there is none."""
        for line in self.text().splitlines():
            stamp = _STAMP.match(line)
            match = re.search(pattern, line)
            if stamp and match:
                when = calendar.timegm(time.strptime(stamp[1], "%Y-%m-%dT%H:%M:%S")) + int(stamp[2]) / 1000
                if after is None or when >= after:
                    return when, match
        return None

    def wait(self, pattern, timeout, after=None):
        return federation.wait_until(lambda: self.find(pattern, after), timeout, f"`{pattern}` in {self.path}")


class Chaos:
    """What a scenario gets. `figures` counts over all scenarios; `long`: the long form."""

    def __init__(self, long, seed, shim):
        self.long = long
        self.seed = seed
        self.shim = pathlib.Path(shim)
        self.random = random.Random(seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tributary-chaos-"))
        self.figures = dict.fromkeys(("kills_survived", "kills_coordinator", "kills_coordinator_at_crash_points", "kills_worker",
                                      "kills_journal_tool", "crash_points", "rounds_lost", "updates_lost", "hashes_compared",
                                      "hashes_unequal"), 0)
        self.restarts = []  # of small runs, as restart_seconds() gives them
        self.cleanups = []
        self._references = {}
        self._pki = None
        self._made = 0
        self._federations = []

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_scenario(self):
        """Ends every process and undoes what the scenario set up, in reverse order."""
        for parties in self._federations:
            self._end(parties)
        self._federations = []
        while self.cleanups:
            self.cleanups.pop()()

    def crashing(self, folder, **environment):
        """Before a program, to have it killed at one of its changes to `folder`: tests/e2e/crash_at.cc says by which variables."""
        if not self.shim.exists():
            raise Skip(f"{self.shim} is not built: cmake --build --preset release --target crash_at")
        assignments = [f"{key}={value}" for key, value in environment.items()]
        return ("env", f"LD_PRELOAD={self.shim}", f"CRASH_FOLDER={folder}", *assignments)

    def kills(self):
        return self.figures["kills_coordinator"] + self.figures["kills_worker"] + self.figures["kills_journal_tool"]

    @staticmethod
    def _end(parties):
        """Without ceremony: what a clean stop does is a scenario of its own."""
        for process in parties.processes.values():
            process.kill()
        shutil.rmtree(parties.directory, ignore_errors=True)

    def logs(self):
        """The end of the log of each process of the scenario, for a failure."""
        for parties in self._federations:
            for process in parties.processes.values():
                yield f"--- {process.name} ({process.popen.returncode})\n{process.log_tail(15)}"

    def make(self, *sites, **config):
        """A federation with keys and data, nothing running. `config`: over coordinator.yaml's defaults."""
        if self._pki is None:
            maker = federation.Federation(self.folder / "keys", harness.BINARIES, ("alpha", "beta", "gamma"), name="chaos")
            maker.make_pki(hosts=("127.0.0.1", link.HUB))
            self._pki = maker.pki
        self._made += 1
        parties = federation.Federation(self.folder / f"federation-{self._made}", harness.BINARIES, sites, name="chaos")
        self._federations.append(parties)
        parties.coordinator_flags = ("--log-level", "debug")  # a line for every round
        shutil.copytree(self._pki, parties.pki)
        for index, site in enumerate(sites):
            harness.write_text(parties.directory / "data" / site, seed=index)
        parties.write_coordinator_config(**{"listen": f"127.0.0.1:{harness.lasting_port()}", **config})
        return parties

    def start(self, parties, workers=True, worker_config=None):
        """Starts everything."""
        parties.start_coordinator()
        parties.write_operator_config()
        for site in parties.sites:
            # Most scenarios compare bits, and some put another journal in a coordinator's place.
            config = {"max_backoff": "200ms", "persist": "every_round", "audit_contradiction": "go_on", **(worker_config or {})}
            parties.write_worker_config(site, parties.directory / "data" / site, **config)
            if workers:
                parties.start_worker(site)

    def submit(self, parties, spec):
        return parties.submit(parties.write_yaml("run.yaml", spec))["run_id"]

    def log_of(self, process):
        return Log(process.log_path)

    def coordinator_log(self, parties):
        return Log(parties.directory / "coordinator.log")

    def spec(self, sites, **overrides):
        return federation.merged(harness.run_spec(participation={"min_workers": len(sites), **STRICT}), overrides)

    def reference(self, sites, spec):
        """The final hash of this run when nothing goes wrong."""
        key = repr((sites, sorted(spec.items())))
        if key not in self._references:
            parties = self.make(*sites)
            self.start(parties)
            self.submit(parties, spec)
            self._references[key] = self.finish(parties, spec, timeout=300)
            self._federations.remove(parties)
            self._end(parties)
        return self._references[key]

    def finish(self, parties, spec, timeout, complete=True):
        """The final hash, once the run is over. Checks that every round is there, that all replicas agree and, if `complete`, that no round
        lacks an update of a member."""
        status = parties.wait_for_end(spec["name"], timeout)
        if status["state"] != "finished":
            raise Mismatch(f"the run {status['state']}: {status.get('reason')}")
        hashes = {"coordinator": status["state_hash"], **{site["site"]: site.get("state_hash") for site in status["sites"]}}
        if len(set(hashes.values())) != 1:
            raise Mismatch(f"replicas differ at the end: {hashes}")
        rounds = [record for record in parties.history(spec["name"]) if int(record.get("round", 0)) > 0]
        if [int(record["round"]) for record in rounds] != list(range(1, spec["rounds"] + 1)):
            raise Mismatch("the history does not have every round once")
        if complete:
            lacking = sum(int(record["members"]) - int(record["included"]) for record in rounds)
            self.figures["updates_lost"] += lacking
            if lacking:
                raise Mismatch(f"{lacking} updates are in no round")
        return status["state_hash"]

    def compare(self, found, expected, what):
        self.figures["hashes_compared"] += 1
        if found != expected:
            self.figures["hashes_unequal"] += 1
            raise Mismatch(f"{what}: the final hash is {found}, without faults {expected}")

    def kill_coordinator(self, parties):
        parties.processes["coordinator"].kill()
        self.figures["kills_coordinator"] += 1

    def check_commits(self, before, after):
        """`before`, `after`: the newest round that was known to be committed, and what a restarted coordinator went on from."""
        if after < before:
            self.figures["rounds_lost"] += before - after
            raise Mismatch(f"round {before} was committed; after the restart the run went on from round {after}")

    def restart_coordinator(self, parties, timeout=60):
        """Starts it again; returns what restart_seconds() needs: its log, when it was started, CPU seconds that it took to serve."""
        log = self.coordinator_log(parties)
        started = time.time()
        process = parties.start_coordinator(timeout=timeout)
        ticks = pathlib.Path(f"/proc/{process.popen.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
        return log, started, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def restart_seconds(self, restart, timeout=60):
        """Seconds from exec of the coordinator to: it serves; the first site is ready; the first round is committed with a session there.
        None where the run is over before. "cpu": seconds of CPU until it serves, which do not depend on what else the machine does."""
        log, started, cpu = restart
        serving = log.wait("serving federation", timeout)[0]

        def progress():
            session = log.find(r"ready at round \d+")
            committed = session and log.find(r"round \d+ committed", after=session[0])
            over = log.find(r"run \S+ finished")
            return (session, committed) if committed or over else None

        session, committed = federation.wait_until(progress, timeout, "a session and a round after the restart")
        return {"serving": serving - started, "cpu": cpu, "session": session and session[0] - started,
                "round": committed and committed[0] - started}

    def metrics(self, parties):
        """{(name, labels as text): value} of the coordinator's page."""
        # From where the operator is: the page may be in a network namespace.
        fetch = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
        page = subprocess.run([*parties.command_prefix, sys.executable, "-c", fetch, f"http://{parties.endpoints()['metrics']}/metrics"],
                              capture_output=True, text=True, check=True).stdout
        found = (_METRIC.match(line) for line in page.splitlines())
        return {(match[1], match[2] or ""): float(match[3]) for match in found if match}

    def site_bytes(self, parties, site, kind=""):
        """The bytes that moved between the coordinator and the site, both directions, of all kinds unless one is named, as the coordinator
        counts them."""
        return sum(value for (name, labels), value in self.metrics(parties).items()
                   if name == "tributary_bytes_total" and f'site="{site}"' in labels and f'kind="{kind}' in labels)


def restart_figures(measured):
    return {f"restart_to_{what}_seconds": percentiles(entry[key] for entry in measured)
            for what, key in (("serving", "serving"), ("serving_cpu", "cpu"), ("session", "session"), ("round", "round"))}


def percentiles(values):
    """{"p50": ..., "max": ..., "n": ...}, in ms resolution; empty if there are none."""
    known = sorted(value for value in values if value is not None)
    return {"n": len(known), "p50": round(known[len(known) // 2], 3), "max": round(known[-1], 3)} if known else {}


def need_root(what):
    if os.geteuid() != 0:
        raise Skip(f"needs root: {what}")
