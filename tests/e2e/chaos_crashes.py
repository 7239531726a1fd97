"""Programs that are killed or stopped: the coordinator at each of its crash points and at random times, workers at random times."""

import contextlib
import itertools
import json
import re
import shutil
import signal
import sqlite3
import time

import harness
from harness import federation

from chaos_kit import Mismatch, pause, percentiles, restart_figures

SITES = ("alpha", "beta")
# Small, but with everything that a coordinator writes: rounds, updates, commits, snapshots and commits that are pruned, a clean stop.
KEEPING = {"snapshots": {"every": 2, "keep": 1}, "log": {"keep": "since_snapshot"}}
LEASE = 2  # seconds
LOCAL = {"mode": "local", "local_steps": 3, "value_bits": 2}
WRITES = ("write", "pwrite")
# Changes to the data folder that a run of 3 rounds, and a start that finds a run, make at the very least; they are about 295, and 23 to 43.
# A shim that sees or kills nothing must not pass for a coordinator that survives.
LEAST_POINTS, LEAST_POINTS_OF_A_RECOVERY = 150, 12
LEAST_POINTS_OF_THE_TOOL = 25


class CrashRun:
    """One short run after another, each in a data folder of its own, with the same workers; the coordinator runs under the shim."""

    def __init__(self, chaos):
        self.chaos = chaos
        self.spec = chaos.spec(SITES, rounds=3)
        self.expected = chaos.reference(SITES, self.spec)
        self.parties = chaos.make(*SITES, **KEEPING)
        chaos.start(self.parties)
        self.listen = self.parties.address()
        self.parties.processes["coordinator"].stop()
        self.log = self.parties.directory / "calls"
        self.numbers = itertools.count()
        self.calls_before_stop = 0

    def fresh(self):
        """The next coordinator begins with an empty folder."""
        shutil.rmtree(self.parties.data_dir)
        self.parties.data_dir = self.parties.directory / f"data-{next(self.numbers)}"
        self.log.unlink(missing_ok=True)
        self.parties.write_coordinator_config(listen=self.listen, **KEEPING)

    def shim(self, **environment):
        return self.chaos.crashing(self.parties.data_dir, CRASH_LOG=self.log, **environment)

    def calls(self):
        """What the shim has counted since the folder was made: [(name, path below the folder)]."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [(line.split()[1], line.split()[3]) for line in lines]

    def points(self):
        """The calls of a whole run, from an empty folder to a clean stop."""
        self.fresh()
        self.parties.start_coordinator(prefix=self.shim())
        self.chaos.submit(self.parties, self.spec)
        self.check()
        self.calls_before_stop = len(self.calls())
        self.parties.processes["coordinator"].stop()
        points = self.calls()
        if len(points) < LEAST_POINTS:
            raise Mismatch(f"a whole run made {len(points)} changes to its folder, so the shim does not see them")
        return points

    def check(self):
        self.chaos.compare(self.chaos.finish(self.parties, self.spec, timeout=60), self.expected, "after a crash")

    def killed(self):
        return self.parties.processes["coordinator"].popen.poll() == -9

    def drive(self, stop):
        """Submits the run, waits for its end and, if `stop`, stops the coordinator; gives up when that is killed on the way."""
        log = self.chaos.coordinator_log(self.parties)
        submitted = self.parties.tool("--config", self.parties.directory / "operator.yaml", "run", "submit",
                                      self.parties.write_yaml("run.yaml", self.spec), check=False)
        if submitted.returncode == 0:
            federation.wait_until(lambda: self.killed() or log.find(r"run \S+ (finished|failed)"), 60, "the end of the run")
        else:
            federation.wait_until(self.killed, 5, f"the coordinator to be dead, as the submission failed: {submitted.stderr}")
        if stop and not self.killed():
            self.parties.processes["coordinator"].stop()

    def go_on(self):
        """Starts the coordinator without the shim, submits the run if it did not get through, and checks the result."""
        self.parties.processes["coordinator"].kill()
        self.parties.start_coordinator()
        runs = self.parties.operator("run", "list").get("runs", [])
        if not any(run["state"] != "failed" for run in runs):
            self.chaos.submit(self.parties, self.spec)
        self.check()
        self.parties.processes["coordinator"].kill()

    def crash(self, number, how):
        """Whether the coordinator was killed at call `number` of a run from an empty folder: it must have been, unless this run made fewer
        calls. What it left must pass the journal's checks, and the run must come to the same end."""
        self.fresh()
        try:
            self.parties.start_coordinator(prefix=self.shim(CRASH_AT=number, CRASH_HOW=how))
            self.drive(stop=number > self.calls_before_stop)
        except federation.FederationError:
            if not self.killed():
                raise
        crashed = self.killed()
        if not crashed and len(self.calls()) >= number:
            raise Mismatch(f"the coordinator made {len(self.calls())} calls and was not killed")
        if (self.parties.data_dir / "journal.db").exists() and crashed:
            self.parties.tool("journal", "verify", self.parties.data_dir)
        self.go_on()
        return crashed

    def crash_while_recovering(self, number):
        """The same, at call `number` of a start that finds a run in the middle of a round. False: it serves before that call."""
        self.log.unlink(missing_ok=True)
        try:
            self.parties.start_coordinator(prefix=self.shim(CRASH_AT=number))
        except federation.FederationError:
            if self.killed():
                return True
            raise
        return False


def crash_points(chaos):
    """kill -9 at the n-th change to the data folder, for every n; of a write, also with half of its bytes in the file."""
    run = CrashRun(chaos)
    points = run.points()
    cases = [(number, "before") for number in range(1, len(points) + 1)]
    cases += [(number, "torn") for number, (call, _) in enumerate(points, start=1) if call in WRITES]
    if not chaos.long:
        cases = chaos.random.sample(cases, 6)
    # No two runs do quite the same: where a run has fewer calls than the one that was counted, its last case kills nobody.
    least = len(cases) * 9 // 10
    killed = 0
    for done, (number, how) in enumerate(cases):
        if done % 50 == 0:
            print(f"  {done} of {len(cases)}", flush=True)
        try:
            killed += run.crash(number, how)
        except Exception as error:
            call, path = points[number - 1]
            raise Mismatch(f"killed {how} call {number} ({call} {path}): {error}") from error
    if killed < least:
        raise Mismatch(f"{killed} kills in {len(cases)} cases, where at least {least} were due")
    chaos.figures["kills_coordinator"] += killed
    chaos.figures["kills_coordinator_at_crash_points"] += killed
    chaos.figures["crash_points"] = len(points)
    return {"points": len(points), "tried": len(cases), "killed": killed, "calls": {
        name: sum(call == name for call, _ in points) for name in sorted({call for call, _ in points})}}


def crash_points_of_a_recovery(chaos):
    """The coordinator is killed in the middle of a run, and again at the n-th change that its restart makes, for n = 1, 2, ..."""
    run = CrashRun(chaos)
    run.spec = chaos.spec(SITES, rounds=200)
    run.expected = chaos.reference(SITES, run.spec)
    run.fresh()
    run.parties.start_coordinator()
    log = chaos.coordinator_log(run.parties)
    chaos.submit(run.parties, run.spec)
    log.wait("round 5 committed", 60)
    chaos.kill_coordinator(run.parties)
    killed = 0
    for number in range(1, 200):
        if not run.crash_while_recovering(number):
            break
        killed += 1
    if killed < LEAST_POINTS_OF_A_RECOVERY:
        raise Mismatch(f"{killed} kills of a recovery, where at least {LEAST_POINTS_OF_A_RECOVERY} were due")
    run.go_on()
    chaos.figures["kills_coordinator"] += killed
    chaos.figures["kills_coordinator_at_crash_points"] += killed
    return {"killed": killed}


class JournalToolCrashes:
    """`tributary journal` killed at work, on copies of what a coordinator left that was killed in the middle of a run."""

    def __init__(self, chaos, prepare=None):
        """`prepare(data_dir)`, if given, is called before the coordinator first starts."""
        self.chaos = chaos
        self.spec = chaos.spec(SITES, rounds=200)
        self.parties = chaos.make(*SITES, snapshots={"every": 4, "keep": 2})
        if prepare is not None:
            self.parties.data_dir.mkdir(parents=True, exist_ok=True)
            prepare(self.parties.data_dir)
        chaos.start(self.parties)
        self.log = chaos.coordinator_log(self.parties)
        chaos.submit(self.parties, self.spec)
        self.log.wait("round 9 committed", 60)
        chaos.kill_coordinator(self.parties)
        self.found = self.parties.data_dir
        self.folder = self.parties.directory / "under-the-tool"

    def commits(self, folder):
        """How many the run has, in a folder that passes all checks."""
        self.parties.tool("journal", "verify", folder)
        return json.loads(self.parties.tool("journal", "show", folder, "--format", "json").stdout)["runs"][0]["commits"]

    def run(self, command, **environment):
        self.parties.command_prefix = self.chaos.crashing(self.folder, **environment) if environment else ()
        try:
            name, *arguments = command
            return self.parties.tool("journal", name, self.folder, *arguments, check=not environment)
        finally:
            self.parties.command_prefix = ()

    def start_over(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.found, self.folder)

    def kill(self, command, state, due):
        """Kills `command` at the n-th change to the data folder, for every n. `state` says what a folder holds: what it held, or `due`; a
        copy that the command made is whole or not there; and the command, given again, gets it done. Then the run goes on from that."""
        was = state(self.found)
        self.start_over()
        counted = self.parties.directory / "calls"
        if self.run(command, CRASH_LOG=counted).returncode != 0:
            raise Mismatch(f"{command[0]} fails under the shim, which is to kill nothing")
        points = counted.read_text(encoding="utf-8").splitlines()
        if len(points) < LEAST_POINTS_OF_THE_TOOL:
            raise Mismatch(f"{command[0]} made {len(points)} changes to its folder, so the shim does not see them")
        cases = range(1, len(points) + 1)
        done_nevertheless = 0
        for number in cases if self.chaos.long else self.chaos.random.sample(cases, 8):
            self.start_over()
            if self.run(command, CRASH_AT=number).returncode != -signal.SIGKILL:
                raise Mismatch(f"{command[0]} was not killed at call {number} of {len(points)}: {points[number - 1]}")
            self.chaos.figures["kills_journal_tool"] += 1
            try:
                holds = state(self.folder)
                if holds not in (was, due):
                    raise Mismatch(f"the folder holds {holds}, where it held {was} and {due} was due")
                for copy in self.folder.glob("before-*"):
                    if copy.suffix != ".new":
                        if state(copy) != was:
                            raise Mismatch(f"{copy.name} is not what the folder was")
                        shutil.rmtree(copy)
                done_nevertheless += holds == due
                self.run(command)
                if state(self.folder) != due:
                    raise Mismatch(f"given again, the command left {state(self.folder)}, where {due} was due")
            except Exception as error:
                raise Mismatch(f"killed at call {number} ({points[number - 1]}): {error}") from error

        last = self.commits(self.folder)
        shutil.rmtree(self.found)
        self.folder.rename(self.found)
        self.parties.start_coordinator()
        self.log.wait(f"continues after round {last}", 30)
        self.chaos.finish(self.parties, self.spec, timeout=120)
        return {"points": len(points), "killed": len(points) if self.chaos.long else 8, "done_nevertheless": done_nevertheless}


def truncation_at_crash_points(chaos):
    """`tributary journal truncate-to` is killed at any change that it makes: the run is at the old round or at the new one."""
    crashes = JournalToolCrashes(chaos)
    last = crashes.commits(crashes.found)
    # Not the round of a snapshot, and a snapshot is dropped with those after it.
    target = last - last % 4 - 1
    return crashes.kill(("truncate-to", crashes.spec["name"], target, "--yes"), crashes.commits, target)


def upgrade_at_crash_points(chaos):
    """`tributary journal upgrade` is killed at any change that it makes: the journal is in the old format or in the new one."""

    def begin_in_format_2(data_dir):
        frozen = (harness.ROOT / "tests" / "coordinator" / "journal" / "format_2.sql").read_text(encoding="utf-8")
        marks = "".join(re.findall(r"^PRAGMA (?:application_id|user_version) = .*;$", frozen, re.MULTILINE))
        tables = "".join(re.findall(r"^CREATE TABLE .*;$", frozen, re.MULTILINE))
        with contextlib.closing(sqlite3.connect(data_dir / "journal.db")) as journal:
            journal.executescript(f"{marks} BEGIN; {tables} COMMIT;")

    crashes = JournalToolCrashes(chaos, begin_in_format_2)

    def state(folder):
        # SQLite's header holds user_version, the format, at offset 60.
        return int.from_bytes((folder / "journal.db").read_bytes()[60:64], "big"), crashes.commits(folder)

    frozen = (harness.ROOT / "tests" / "coordinator" / "journal").glob("format_*.sql")
    newest = max(int(path.stem.removeprefix("format_")) for path in frozen)
    return crashes.kill(("upgrade",), state, (newest, crashes.commits(crashes.found)))


def restore_at_crash_points(chaos):
    """`tributary restore` is killed at any change that it makes: the folder is whole, or has no journal and is not taken for one."""
    crashes = JournalToolCrashes(chaos)
    parties, folder = crashes.parties, crashes.folder
    backup = parties.directory / "backup"
    parties.tool("backup", crashes.found, backup)
    due = crashes.commits(backup)
    if due != crashes.commits(crashes.found):
        raise Mismatch(f"the backup has {due} commits, the folder {crashes.commits(crashes.found)}")

    def restore(**environment):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        parties.command_prefix = chaos.crashing(folder, **environment)
        try:
            return parties.tool("restore", backup, folder, check=False).returncode
        finally:
            parties.command_prefix = ()

    counted = parties.directory / "calls"
    if restore(CRASH_LOG=counted) != 0:
        raise Mismatch("restore fails under the shim, which is to kill nothing")
    points = counted.read_text(encoding="utf-8").splitlines()
    whole = 0
    cases = range(1, len(points) + 1)
    for number in cases if chaos.long else chaos.random.sample(cases, 6):
        if restore(CRASH_AT=number) != -signal.SIGKILL:
            raise Mismatch(f"restore was not killed at call {number} of {len(points)}: {points[number - 1]}")
        chaos.figures["kills_journal_tool"] += 1
        if (folder / "journal.db").exists():
            whole += 1
            if crashes.commits(folder) != due:
                raise Mismatch(f"killed at call {number} ({points[number - 1]}): a folder with a journal is not whole")
    if restore() != 0 or crashes.commits(folder) != due:
        raise Mismatch("given again, the command did not get it done")
    shutil.rmtree(crashes.found)
    folder.rename(crashes.found)
    parties.start_coordinator()
    crashes.log.wait(f"continues after round {due}", 30)
    chaos.finish(parties, crashes.spec, timeout=120)
    return {"points": len(points), "whole": whole}


def coordinator_at_random_times(chaos):
    """kill -9 between nothing and 1.2 s after exec, again and again, over as many runs as that takes."""
    return _coordinator(chaos, 100 if chaos.long else 5, {})


def coordinator_at_random_times_pipelined(chaos):
    """The same while sites compute the next round during the commit of this one."""
    return _coordinator(chaos, 30, {"pipeline": 1})


def _coordinator(chaos, kills, overrides):
    spec = chaos.spec(SITES, **{"rounds": 600 if chaos.long else 200, **overrides})
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES)
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    done = runs = 0
    measured = []
    while done < kills:
        run_id = chaos.submit(parties, spec)
        runs += 1
        log.mark()
        while done < kills and not log.find(f"run {run_id} finished"):
            pause(chaos.random.uniform(0, 1.2))
            chaos.kill_coordinator(parties)
            done += 1
            committed = max([0, *(int(number) for number in re.findall(rf"round (\d+) committed.*run={run_id}", log.text()))])
            restart = chaos.restart_coordinator(parties)
            continued = restart[0].find(rf"run {run_id} continues after round (\d+)")
            if not continued:
                break  # it was over already
            chaos.check_commits(committed, int(continued[1][1]))
            if done % 2 == 1:  # the others may be killed while they start
                measured.append(chaos.restart_seconds(restart))
        chaos.compare(chaos.finish(parties, spec, timeout=120), expected, f"run {runs}, after {done} kills")
    chaos.restarts += measured
    return {"kills": done, "runs": runs, **restart_figures(measured)}


def _workers(chaos, overrides, exact=True):
    sites = ("alpha", "beta", "gamma")
    spec = chaos.spec(sites, rounds=500 if chaos.long else 60, **overrides)
    expected = chaos.reference(sites, spec) if exact else None
    parties = chaos.make(*sites)
    chaos.start(parties, worker_config={} if exact else {"persist": "sparingly"})
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    log.wait("round 1 committed", 60)
    kills = 0
    while kills < (20 if chaos.long else 3) and not log.find(r"run \S+ finished"):
        site = chaos.random.choice(sites)
        log.mark()
        parties.processes[f"worker-{site}"].kill()
        chaos.figures["kills_worker"] += 1
        kills += 1
        parties.start_worker(site)
        log.wait(rf"ready at round \d+ .*site={site}|run \S+ finished", 60)
        pause(chaos.random.uniform(0, 0.2))
    final = chaos.finish(parties, spec, timeout=180)
    if exact:
        chaos.compare(final, expected, f"after {kills} kills of workers")
    return {"kills": kills, "rounds": spec["rounds"]}


def workers_distro(chaos):
    """kill -9 of workers at random times, started again at once; residual momentum in the worker (distro)."""
    return _workers(chaos, {})


def workers_local(chaos):
    """The same with local steps: optimiser state and residual in the worker."""
    return _workers(chaos, {"optimizer": LOCAL})


def workers_pipelined(chaos):
    """The same with a round that is computed during the commit of the one before."""
    return _workers(chaos, {"pipeline": 1})


def workers_local_pipelined(chaos):
    """Both: optimiser state, residual, and a round ahead, in the worker."""
    return _workers(chaos, {"pipeline": 1, "optimizer": LOCAL})


def workers_sparing(chaos):
    """The same without `persist: every_round`: another model, but one, with an update of every site in every round."""
    return _workers(chaos, {"optimizer": LOCAL}, exact=False)


def workers_at_crash_points(chaos):
    """A worker is killed at the n-th change to its state_dir since it started, for n = 1, 2, ..., in one run."""
    return _worker_crash_points(chaos, exact=True)


def workers_at_crash_points_sparing(chaos):
    """The same without `persist: every_round`."""
    return _worker_crash_points(chaos, exact=False)


def _worker_crash_points(chaos, exact):
    spec = chaos.spec(SITES, rounds=200)
    expected = chaos.reference(SITES, spec) if exact else None
    parties = chaos.make(*SITES)
    chaos.start(parties, workers=False, worker_config={} if exact else {"persist": "sparingly"})
    parties.start_worker("beta")
    log = chaos.coordinator_log(parties)
    log.mark()
    chaos.submit(parties, spec)
    state = parties.directory / "state-alpha"
    kills = 0
    laps = list(itertools.product(range(1, 26) if chaos.long else (3, 9), ("before", "torn")))
    for number, how in laps:
        worker = parties.start_worker("alpha", prefix=chaos.crashing(state, CRASH_AT=number, CRASH_HOW=how))
        federation.wait_until(lambda: not worker.running() or log.find(r"run \S+ finished"), 60, "the worker to be killed")
        if worker.running():
            raise Mismatch(f"the run was over after {kills} of {len(laps)} kills: the worker made fewer changes to its state_dir")
        if worker.wait(1) != -9:
            raise Mismatch(f"the worker ended with exit code {worker.wait(1)} before call {number}:\n{worker.log_tail()}")
        kills += 1
        chaos.figures["kills_worker"] += 1
    parties.start_worker("alpha")
    final = chaos.finish(parties, spec, timeout=120)
    if exact:
        chaos.compare(final, expected, f"after {kills} kills of a worker")
    return {"kills": kills}


def drain_and_restart(chaos):
    """SIGTERM: exit code 0, at a round's end; then a restart, and the same result."""
    spec = chaos.spec(SITES, rounds=200)
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES)
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    chaos.submit(parties, spec)
    seconds = []
    for after in (5, 30, 60, 90, 120) if chaos.long else (5, 30):
        log.wait(f"round {after} committed", 60)
        started = time.monotonic()
        code = parties.processes["coordinator"].stop()
        seconds.append(time.monotonic() - started)
        if code != 0:
            raise Mismatch(f"exit code {code} on SIGTERM")
        log.mark()
        parties.start_coordinator()
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after the drains")
    return {"drains": len(seconds), "drain_seconds": percentiles(seconds)}


def stopped_worker(chaos):
    """SIGSTOP of a worker past its lease: the site leaves, the run waits for it, it comes back, and the model is the same. With a smaller
    minimum the others go on without it."""
    sites = ("alpha", "beta", "gamma")
    spec = chaos.spec(sites, rounds=60)
    expected = chaos.reference(sites, spec)
    parties = chaos.make(*sites, lease=f"{LEASE}s")
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    worker = parties.processes["worker-beta"]
    chaos.submit(parties, spec)
    log.wait("round 5 committed", 60)
    worker.signal(signal.SIGSTOP)
    log.wait("the site has left site=beta", 4 * LEASE)
    worker.signal(signal.SIGCONT)
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after a stopped worker")

    if not chaos.long:
        return {"lease_seconds": LEASE}
    elastic = chaos.spec(sites, rounds=600, participation={"min_workers": 2, "quorum": 0.5})
    chaos.submit(parties, elastic)
    log.mark()
    log.wait("round 5 committed", 60)
    worker.signal(signal.SIGSTOP)
    log.wait("the site has left site=beta", 4 * LEASE)
    log.wait(r"round \d+ committed: 2 of 2", 60)
    worker.signal(signal.SIGCONT)
    log.wait(r"ready at round \d+ .*site=beta", 60)
    chaos.finish(parties, elastic, timeout=120, complete=False)
    return {"lease_seconds": LEASE}


def stopped_coordinator(chaos):
    """SIGSTOP of the coordinator past everybody's lease: the workers find it again, and the model is the same."""
    spec = chaos.spec(SITES, rounds=200)
    expected = chaos.reference(SITES, spec)
    parties = chaos.make(*SITES, lease=f"{LEASE}s")
    chaos.start(parties)
    log = chaos.coordinator_log(parties)
    coordinator = parties.processes["coordinator"]
    chaos.submit(parties, spec)
    log.wait("round 5 committed", 60)
    coordinator.signal(signal.SIGSTOP)
    pause((20 if chaos.long else 2) * LEASE)
    coordinator.signal(signal.SIGCONT)
    chaos.compare(chaos.finish(parties, spec, timeout=120), expected, "after a stopped coordinator")
    return {"stopped_seconds": (20 if chaos.long else 2) * LEASE}
