"""What the end-to-end tests share: real programs, keys, data and ports that are nobody else's. Standard library only.

Each test file runs on its own: TRIBUTARY_BIN=build/release/bin python3 tests/e2e/worker_kill.py
A file whose tests are all skipped exits with 77 and says why.
"""

import os
import pathlib
import random
import shutil
import socket
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
sys.dont_write_bytecode = True

import federation  # noqa: E402  (found through the line above)

BINARIES = pathlib.Path(os.environ.get("TRIBUTARY_BIN", ROOT / "build" / "release" / "bin"))
RUN = "tiny"
EXIT_USAGE, EXIT_CREDENTIALS, EXIT_UNREACHABLE, EXIT_DATA = 2, 3, 4, 5
EXIT_CONSENT, EXIT_STORAGE, EXIT_DAMAGED, EXIT_RUN_FAILED = 6, 7, 8, 9
EXIT_READER_GONE = 141

_WORDS = ("river", "stone", "harbour", "winter", "lantern", "orchard", "meadow", "signal", "copper", "thunder", "garden", "window")


def write_text(folder, seed, size=40_000):
    """A text file of words in a seeded order, different for each site and easy to learn something of."""
    generator = random.Random(seed)
    words = generator.sample(_WORDS, 6)
    text = []
    length = 0
    while length < size:
        word = generator.choice(words)
        text.append(word)
        length += len(word) + 1
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(" ".join(text) + "\n", encoding="utf-8")


def run_spec(**overrides):
    """A run that a core trains at dozens of rounds a second: about 30,000 parameters."""
    spec = {
        "name": RUN,
        "seed": 7,
        "rounds": 12,
        "model": {"gpt": {"layers": 1, "heads": 2, "width": 32, "context": 16}},
        "data": {"kind": "text", "batch_size": 4},
        "optimizer": {"mode": "distro", "learning_rate": {"peak": 0.005, "kind": "constant"}, "k": 64},
        "participation": {"min_workers": 1, "min_deadline": "1s", "max_deadline": "20s", "wait_timeout": "2m"},
        "evaluation": {"every": 4, "batches": 2},
    }
    return federation.merged(spec, overrides)


def lasting_port():
    """A free port of loopback below those that the system gives to outgoing connections. While a coordinator is away, a worker that tries
    again and again could be given the very port that it calls, reach itself, and keep the coordinator from coming back."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class FederationTest(unittest.TestCase):
    """A test with a folder of its own; what it started is ended, and the logs are shown if it failed."""

    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tributary-e2e-"))
        self.federations = []
        self.addCleanup(self._clean_up)

    def _clean_up(self):
        outcome = self._outcome.result
        failed = any(test is self for test, _ in [*outcome.failures, *outcome.errors])
        for parties in self.federations:
            parties.close()
            if failed:
                for process in parties.processes.values():
                    print(f"--- {process.name} ({process.popen.returncode}), end of its log\n{process.log_tail(25)}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def make(self, *sites, name="e2e"):
        """A federation with keys, data and coordinator.yaml, nothing running."""
        parties = federation.Federation(self.folder / name, BINARIES, sites, name=name)
        self.federations.append(parties)
        parties.listen = f"127.0.0.1:{lasting_port()}"
        parties.coordinator_flags = ("--log-level", "debug")  # a line for every round
        parties.make_pki()
        for index, site in enumerate(sites):
            write_text(parties.directory / "data" / site, seed=index)
        parties.write_coordinator_config()
        return parties

    def start(self, parties, workers=True, **worker_overrides):
        """Starts the coordinator and, if asked, all workers."""
        parties.start_coordinator()
        parties.write_operator_config()
        for site in parties.sites:
            parties.write_worker_config(site, parties.directory / "data" / site, **worker_overrides)
            if workers:
                parties.start_worker(site)

    def submit(self, parties, **overrides):
        return parties.submit(parties.write_yaml("run.yaml", run_spec(**overrides)))

    def await_log(self, process, text, timeout=30):
        """Waits until the process has logged the text: a peer may see what was done to it before the line about it is written."""
        federation.wait_until(lambda: text in process.log_text(), timeout, f"{process.name} to say: {text}")

    def assert_finished(self, parties, status, rounds):
        """All rounds committed, and one hash at the coordinator and every site."""
        self.assertEqual(status["state"], "finished", status.get("reason"))
        self.assertEqual(int(status["round"]), rounds)
        hashes = {"coordinator": status["state_hash"], **{site["site"]: site.get("state_hash") for site in status["sites"]}}
        self.assertEqual(set(hashes), {"coordinator", *parties.sites})
        self.assertRegex(hashes["coordinator"], "^[0-9a-f]{64}$")
        self.assertEqual(len(set(hashes.values())), 1, hashes)
        committed = [int(record["round"]) for record in parties.history(RUN) if int(record.get("round", 0)) > 0]
        self.assertEqual(committed, list(range(1, rounds + 1)))
        return hashes["coordinator"]


def site_status(status, site):
    return next(entry for entry in status["sites"] if entry["site"] == site)


def main():
    """Runs the file's tests; 0, 1, or 77 when all of them were skipped."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}")
    if result.wasSuccessful() and result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() else 1)
