"""A bad line between two network namespaces: delay, loss, a rate, and a cut, on whole IP packets.

Two TUN devices, one in each namespace, and a thread here that carries packets from one to the other, or does not. It does what
`tc netem` does, with the losses drawn from a seed, and runs on kernels that were built without netem. TCP on both sides is the real one.
"""

import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time

from harness import federation

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# IPv4, and TCP with time stamps: what a packet carries beside its payload.
HEADERS = 20 + 32
_QUEUE_SECONDS = 0.5  # a line's buffer; what comes when it is full is lost
HUB, SITE = "10.92.7.1", "10.92.7.2"


def missing():
    """Why there can be no Link on this machine; empty if there can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "needs root, `ip`, `unshare` and `nsenter` (network namespaces)"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:
        return "network namespaces are not permitted here"
    return ""


class End:
    """One end of the line: a network namespace that lasts as long as the process that was started in it, and a TUN device there."""

    def __init__(self, address):
        # It ends when its standard input does, thus with this program, however that ends.
        self.keeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        here, there = os.readlink("/proc/self/ns/net"), f"/proc/{self.keeper.pid}/ns/net"
        federation.wait_until(lambda: os.readlink(there) != here, 10, "a network namespace")
        self.prefix = ("nsenter", f"--net={there}")
        self.file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        device = f"line{self.keeper.pid}"
        fcntl.ioctl(self.file, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
        self._run("ip", "link", "set", device, "netns", str(self.keeper.pid))
        self._run(*self.prefix, "ip", "address", "add", f"{address}/24", "dev", device)
        self._run(*self.prefix, "ip", "link", "set", "lo", "up")
        self._run(*self.prefix, "ip", "link", "set", device, "up")

    @staticmethod
    def _run(*command):
        subprocess.run(command, check=True, capture_output=True)

    def close(self):
        os.close(self.file)
        self.keeper.stdin.close()
        self.keeper.wait(10)


class Direction:
    """One way of the line. `offered`, `delivered`: payload bytes (without IP and TCP headers) that came in, and that went out."""

    def __init__(self, source, target):
        self.source = source
        self.target = target
        self.offered = 0
        self.delivered = 0
        self.lost_packets = 0
        self.free_at = 0.0


class Link:
    """The line; starts perfect. Set `delay` (seconds, one way), `loss` (0..1), `rate` (bytes a second, one way) and `cut` at any time."""

    def __init__(self, seed):
        self.delay, self.loss, self.rate, self.cut = 0.0, 0.0, None, False
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._ends = {}
        for address in (HUB, SITE):
            self._ends[address] = End(address)
        hub, site = (self._ends[address].file for address in (HUB, SITE))
        self.up, self.down = Direction(site, hub), Direction(hub, site)
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()

    def prefix(self, address):
        """Before a command, to run it at that end."""
        return self._ends[address].prefix

    def close(self):
        self._ended.set()
        self._carrier.join()
        for end in self._ends.values():
            end.close()

    def _carry(self):
        directions = {self.up.source: self.up, self.down.source: self.down}
        flying = []  # (due, number, direction, packet)
        number = 0
        while not self._ended.is_set():
            wait = 0.1 if not flying else min(0.1, max(0.0, flying[0][0] - time.monotonic()))
            for source in select.select(list(directions), [], [], wait)[0]:
                direction = directions[source]
                packet = os.read(source, 65536)
                if packet[0] >> 4 != 4:
                    continue  # IPv6's own chatter
                number += 1
                due = self._admit(direction, packet)
                if due is not None:
                    heapq.heappush(flying, (due, number, direction, packet))
            now = time.monotonic()
            while flying and flying[0][0] <= now:
                _, _, direction, packet = heapq.heappop(flying)
                if not self.cut:
                    os.write(direction.target, packet)
                    direction.delivered += max(0, len(packet) - HEADERS)

    def _admit(self, direction, packet):
        """When the packet arrives; None: never."""
        now = time.monotonic()
        direction.offered += max(0, len(packet) - HEADERS)
        free_at = max(now, direction.free_at)
        if self.cut or self._random.random() < self.loss or free_at - now > _QUEUE_SECONDS:
            direction.lost_packets += 1
            return None
        direction.free_at = free_at + (len(packet) / self.rate if self.rate else 0.0)
        return direction.free_at + self.delay
