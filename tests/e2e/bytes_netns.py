"""Our byte counts against an interface's: coordinator and worker in two network namespaces joined by a virtual cable."""

import os
import shutil
import subprocess
import unittest

import harness

# What a TCP segment costs beside its payload: Ethernet 14, IPv4 20, TCP 20 with 12 of time stamps.
OVERHEAD = 14 + 20 + 32
ROUNDS = 60


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def can_make_namespaces():
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"tributary-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return False
    ip("netns", "delete", name)
    return True


@unittest.skipUnless(can_make_namespaces(), "needs root and `ip netns` (network namespaces)")
class BytesOnTheWire(harness.FederationTest):
    def setUp(self):
        super().setUp()
        self.spaces = {side: f"tributary-{side}-{os.getpid()}" for side in ("hub", "site")}
        for name in self.spaces.values():
            ip("netns", "add", name)
            self.addCleanup(subprocess.run, ["ip", "netns", "delete", name], capture_output=True, check=False)
        ip("link", "add", "cable0", "netns", self.spaces["hub"], "type", "veth", "peer", "name", "cable0", "netns", self.spaces["site"])
        for side, address in (("hub", "10.91.7.1/24"), ("site", "10.91.7.2/24")):
            self.inside(side, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", check=False)
            ip("-n", self.spaces[side], "address", "add", address, "dev", "cable0")
            ip("-n", self.spaces[side], "link", "set", "lo", "up")
            ip("-n", self.spaces[side], "link", "set", "cable0", "up")

    def prefix(self, side):
        return ("ip", "netns", "exec", self.spaces[side])

    def inside(self, side, *command, check=True):
        return subprocess.run([*self.prefix(side), *command], capture_output=True, text=True, check=check).stdout

    def counters(self):
        """(payload bytes up, payload bytes down) of everything that ran over the cable, seen from the site."""
        values = {name: int(self.inside("site", "cat", f"/sys/class/net/cable0/statistics/{name}"))
                  for name in ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets")}
        return (values["tx_bytes"] - OVERHEAD * values["tx_packets"], values["rx_bytes"] - OVERHEAD * values["rx_packets"])

    def test_counts_of_sparse_updates_agree_with_the_interface(self):
        self.check({"mode": "distro", "k": 64})

    def test_counts_of_dense_updates_agree_with_the_interface(self):
        self.check({"mode": "allreduce", "k": None})

    def check(self, optimizer):
        parties = harness.federation.Federation(self.folder / optimizer["mode"], harness.BINARIES, ["alpha"], name="wire")
        self.federations.append(parties)
        parties.make_pki(hosts=["10.91.7.1"])
        parties.command_prefix = self.prefix("hub")
        harness.write_text(parties.directory / "data", seed=1)
        parties.write_coordinator_config(listen="10.91.7.1:0")
        parties.start_coordinator(prefix=self.prefix("hub"))
        parties.write_operator_config()
        before = self.counters()
        parties.write_worker_config("alpha", parties.directory / "data")
        parties.start_worker("alpha", prefix=self.prefix("site"))
        self.submit(parties, rounds=ROUNDS, optimizer=optimizer, model={"gpt": {"layers": 2, "width": 128}})
        status = parties.wait_for_end(harness.RUN, timeout=120)
        self.assert_finished(parties, status, rounds=ROUNDS)
        after = self.counters()
        for direction, counted, interface in (("up", int(status["bytes_up_total"]), after[0] - before[0]),
                                              ("down", int(status["bytes_down_total"]), after[1] - before[1])):
            ratio = counted / interface
            print(f"{optimizer['mode']}: {direction}: counted {counted}, on the interface {interface} without TCP/IP headers, "
                  f"ratio {ratio:.3f}")
            self.assertGreater(ratio, 0.9)
            self.assertLess(ratio, 1.1)


if __name__ == "__main__":
    harness.main()
