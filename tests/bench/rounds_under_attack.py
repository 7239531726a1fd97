"""What attacks cost honest sites: rounds a second beside one attacker that does its worst without a pause, against those beside a process
the same weight that only computes. And what the coordinator's memory is after each, against before all.

    python3 tests/bench/rounds_under_attack.py [--seconds N] [--json FILE]

Real processes, mTLS, real training of two sites; the attacks are those of tests/e2e/refusals.py, made again and again. Fails if
rounds fall below half, or memory stays above what it was by more than 16 MiB.
"""

import argparse
import contextlib
import json
import multiprocessing
import pathlib
import re
import resource
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402  (found through the line above)
import hostile_http2 as http2  # noqa: E402
import refusals  # noqa: E402

LEAST_RATE = 0.5
MOST_BYTES_MORE = 16 << 20
WARM_UP = 20  # rounds


def compute():
    value = 1
    for _ in range(100_000):
        value = value * 6364136223846793005 & 0xffffffffffffffff


def silent(port):
    for client in refusals.connections_without_a_certificate(port):
        client.close()


def flood(port, tls, frames):
    with http2.connect(port, tls) as client:
        http2.push(client, frames())


def begin_messages(port, tls):
    clients = [http2.connect(port, tls) for _ in range(4)]
    for client in clients:
        http2.begin_messages(client, refusals.UPLOAD, 64, 4 << 20)
    for client in clients:
        client.close()


def connect_often(port, tls):
    for client in [http2.connect(port, tls, timeout=2) for _ in range(100)]:
        client.close()


def again_and_again(attack, *arguments):
    while True:
        with contextlib.suppress(OSError):
            attack(*arguments)


class Federation:
    """A coordinator, two sites that train, and who attacks it."""

    def __init__(self, folder):
        parties = self.parties = harness.federation.Federation(folder, harness.BINARIES, ["alpha", "beta", "gamma"], name="e2e")
        parties.make_pki()
        parties.tool("pki", "issue", parties.pki, "--site", "mallory")
        parties.write_coordinator_config()
        self.coordinator = parties.start_coordinator()
        parties.write_operator_config()
        self.port = int(parties.address().rsplit(":", 1)[1])
        for number, site in enumerate(("alpha", "beta")):
            data = parties.directory / "data" / site
            harness.write_text(data, seed=number)
            parties.write_worker_config(site, data)
            parties.start_worker(site)
        parties.submit(parties.write_yaml("run.yaml", harness.run_spec(rounds=1_000_000)))
        parties.wait_for_round(harness.RUN, WARM_UP, 60)

    def tls(self, site):
        pki = self.parties.pki
        return [pki / "ca.crt", pki / f"site-{site}.crt", pki / f"site-{site}.key"]

    def round(self):
        """By the metrics, for the attacker has this machine's address, and may keep others of it from handshakes."""
        with urllib.request.urlopen(f"http://{self.parties.endpoints()['metrics']}/metrics", timeout=60) as page:
            return int(re.search(r"^tributary_round{\S* (\d+)$", page.read().decode(), re.MULTILINE)[1])

    def rounds_a_second(self, seconds, attack, *arguments):
        """While one process does that again and again."""
        attacker = multiprocessing.Process(target=again_and_again, args=(attack, *arguments), daemon=True)
        attacker.start()
        try:
            begin, first = time.monotonic(), self.round()
            attacker.join(seconds)
            return (self.round() - first) / (time.monotonic() - begin)
        finally:
            attacker.kill()
            attacker.join()

    def memory(self):
        """What it settles at within five seconds, which is when the coordinator has given back what it can."""
        until = time.monotonic() + 5
        lowest = refusals.resident_bytes(self.coordinator)
        while time.monotonic() < until:
            self.parties.wait_for_round(harness.RUN, self.round() + 1, 60)
            lowest = min(lowest, refusals.resident_bytes(self.coordinator))
        return lowest


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8, help="of each attack")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(pathlib.Path(folder) / "federation")
        with federation.parties:
            port, gamma = federation.port, federation.tls("gamma")
            before = federation.memory()
            honest = federation.rounds_a_second(options.seconds, compute)
            attacks = {
                "1,300 connections without a certificate": (silent, port),
                "messages that never end, of a stranger": (refusals.messages_that_never_end, port, federation.tls("mallory")),
                **{name: (flood, port, gamma, frames) for name, frames in refusals.FLOODS.items()},
                "messages of 4 MiB without their last byte": (begin_messages, port, gamma),
                "a hundred connections of one member": (connect_often, port, gamma),
            }
            figures = [{"attack": "none: a process that computes", "rate": honest, "share": 1.0, "mebibytes_more": 0.0}]
            for name, attack in attacks.items():
                rate = federation.rounds_a_second(options.seconds, *attack)
                figures.append({"attack": name, "rate": rate, "share": rate / honest,
                                "mebibytes_more": (federation.memory() - before) / (1 << 20)})
            federation.parties.check_alive()
    for figure in figures:
        print(f"{figure['rate']:7.1f} rounds/s  {figure['share']:5.2f}  {figure['mebibytes_more']:+6.1f} MiB  {figure['attack']}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    bad = [figure["attack"] for figure in figures
           if figure["share"] < LEAST_RATE or figure["mebibytes_more"] > MOST_BYTES_MORE / (1 << 20)]
    if bad:
        sys.exit(f"too slow or too large: {', '.join(bad)}")


if __name__ == "__main__":
    main()
