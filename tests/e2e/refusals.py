"""What people without a certificate, strangers with one, and members who went bad can do to a coordinator: little. Each attack is one that
once ended it, or froze honest sites; rounds go on meanwhile, and memory stays."""

import contextlib
import pathlib
import resource
import time
import unittest

import harness
import hostile_http2 as http2

OPEN = "/tributary.v1.SessionService/Open"
UPLOAD = "/tributary.v1.TransferService/Upload"
DESCRIPTORS = 1024  # as shells and container runtimes leave them; the attack of 1,100 is more
MOST_BYTES_MORE = 16 << 20
MOST_BYTES_SENT = 48 << 20
PATIENCE = 60

# Each is made of frames, at the rate at which they can be sent.
FLOODS = {
    "70,000 streams that are reset at once": lambda: (
        http2.frame(http2.HEADERS, http2.headers(OPEN), http2.END_HEADERS, stream) +
        http2.frame(http2.RESET, b"\x00\x00\x00\x08", 0, stream) for stream in range(1, 140_001, 2)),
    "headers without an end": lambda: (
        http2.frame(http2.CONTINUATION if number else http2.HEADERS, b"\x00\x01a\x7f" + b"b" * 127, 0, 1) for number in range(1_000_000)),
    "a flood of pings": lambda: (http2.frame(http2.PING, b"12345678") for _ in range(1_000_000)),
    "a flood of settings": lambda: (http2.frame(http2.SETTINGS, b"\x00\x04\x00\x01\x00\x00") for _ in range(1_000_000)),
}


def connections_without_a_certificate(port):
    """1,100 that say nothing, and 200 handshakes that stop after 11 bytes."""
    idle = [http2.connect(port) for _ in range(1100)]
    for _ in range(200):
        client = http2.connect(port)
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        idle.append(client)
    return idle


def messages_that_never_end(port, tls):
    """64 of somebody who may not even call. How many bytes went out of how many, and whether the connection was cut."""
    streams = range(1, 129, 2)
    pieces = [http2.frame(http2.HEADERS, http2.headers(OPEN), http2.END_HEADERS, stream) for stream in streams]
    pieces += [http2.frame(http2.DATA, b"\x00\x00\x3f\xff\xff" + b"x" * 16000, 0, stream) for stream in streams] * 20
    with http2.connect(port, tls) as client:
        return sum(map(len, pieces)), *http2.push(client, pieces)


def resident_bytes(process):
    for line in pathlib.Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


class Refusals(harness.FederationTest):
    @classmethod
    def setUpClass(cls):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4096:
            raise unittest.SkipTest(f"a process here may open {hard} files, too few for the attack")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))

    def setUp(self):
        super().setUp()
        self.parties = self.make("alpha", "beta", "gamma")  # gamma is on the list, and hostile
        parties = self.parties
        parties.tool("pki", "issue", parties.pki, "--site", "mallory")
        parties.coordinator_flags = ()
        self.coordinator = parties.start_coordinator(prefix=("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"))
        parties.write_operator_config()
        self.port, self.health = (int(parties.endpoints()[name].rsplit(":", 1)[1]) for name in ("listen", "health"))
        for site in ("alpha", "beta"):
            parties.write_worker_config(site, parties.directory / "data" / site)
            parties.start_worker(site)
        self.submit(parties, rounds=1_000_000)
        parties.wait_for_round(harness.RUN, 20, PATIENCE)
        self.memory = resident_bytes(self.coordinator)

    def tls(self, stem):
        pki = self.parties.pki
        return [pki / "ca.crt", pki / f"{stem}.crt", pki / f"{stem}.key"]

    def round(self):
        return int(self.parties.status(harness.RUN)["round"])

    def probe(self):
        """Whether a probe is answered; one that comes while the flood is being cleared away may be turned away, and tries again."""
        try:
            with http2.connect(self.health) as client:
                client.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, b""))
                return client.recv(9) != b""
        except ConnectionError:
            return False

    @contextlib.contextmanager
    def unharmed(self):
        """Rounds go on after what is done; memory is soon what it was."""
        yield
        self.parties.wait_for_round(harness.RUN, self.round() + 20, PATIENCE)
        harness.federation.wait_until(lambda: resident_bytes(self.coordinator) - self.memory < MOST_BYTES_MORE, PATIENCE,
                                      "the coordinator to give back its memory")
        self.parties.check_alive()

    def test_attacks_of_every_kind(self):
        with self.subTest("1,100 connections that say nothing, and 200 handshakes that stop after 11 bytes"), self.unharmed():
            idle = connections_without_a_certificate(self.port)
            # While all of them are there.
            self.parties.wait_for_round(harness.RUN, self.round() + 20, PATIENCE)
            for client in idle:
                client.close()
            self.await_log(self.coordinator, "too many handshakes at once")

        with self.subTest("1,100 connections to the health port"), self.unharmed():
            idle = [http2.connect(self.health) for _ in range(1100)]
            self.parties.operator("run", "list")
            harness.federation.wait_until(self.probe, PATIENCE, "a probe to be answered")
            for client in idle:
                client.close()

        with self.subTest("64 messages that never end, of a site that is not on the list"), self.unharmed():
            meant, sent, cut = messages_that_never_end(self.port, self.tls("site-mallory"))
            self.assertTrue(cut, sent)
            self.assertLess(sent, meant)
            self.await_log(self.coordinator, "it sent more than it may")

        for name, flood in FLOODS.items():
            with self.subTest(f"{name}, of a member"), self.unharmed():
                started = time.monotonic()
                with http2.connect(self.port, self.tls("site-gamma")) as client:
                    self.assertTrue(http2.push(client, flood())[1])
                self.assertLess(time.monotonic() - started, PATIENCE)

        with self.subTest("64 messages of 4 MiB without their last byte on each of four connections, of a member"), self.unharmed():
            clients = [http2.connect(self.port, self.tls("site-gamma")) for _ in range(4)]
            for client in clients:
                sent, cut = http2.begin_messages(client, UPLOAD, 64, 4 << 20)
                self.assertTrue(cut, sent)
                self.assertLess(sent, MOST_BYTES_SENT)
            for client in clients:
                client.close()
            self.await_log(self.coordinator, "too many messages that have begun and not ended")

        with self.subTest("a hundred connections of one member"), self.unharmed():
            clients = [http2.connect(self.port, self.tls("site-gamma"), timeout=0.05) for _ in range(100)]
            few = 20
            harness.federation.wait_until(lambda: sum(not http2.is_cut(client) for client in clients) <= few, PATIENCE,
                                          "most of the connections to be cut")
            for client in clients:
                client.close()
        self.await_log(self.coordinator, "turned away spiffe://e2e/site/gamma")


if __name__ == "__main__":
    harness.main()
