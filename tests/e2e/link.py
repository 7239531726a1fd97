"""A bad line between two network namespaces: delay, loss, a rate, and a cut, on whole IP packets.

Two TUN devices, one in each namespace, and a thread here that carries packets from one to the other, or does not. It does what `tc netem` does,
with the losses drawn from a seed, and runs on kernels without netem. TCP on both sides is the real one and answers to it as on a real line.
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

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# IPv4, and TCP with time stamps: what a packet carries beside its payload.
HEADERS = 20 + 32
_QUEUE_SECONDS = 0.5  # a line's buffer; what comes when it is full is lost
HUB, SITE = "10.92.7.1", "10.92.7.2"


def missing():
    """Why there can be no Link on this machine; empty if there can."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "needs root and `ip` (network namespaces)"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    name = f"tributary-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "`ip netns add` is not permitted here"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


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
        self.spaces = {HUB: f"tributary-hub-{os.getpid()}", SITE: f"tributary-site-{os.getpid()}"}
        self._ended = threading.Event()
        self._files = []
        for address, space in self.spaces.items():
            self._ip("netns", "add", space)
            device = f"line{len(self._files)}p{os.getpid()}"
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            self._files.append(file)
            fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
            self._ip("link", "set", device, "netns", space)
            self._ip("-n", space, "address", "add", f"{address}/24", "dev", device)
            self._ip("-n", space, "link", "set", "lo", "up")
            self._ip("-n", space, "link", "set", device, "up")
        hub, site = self._files
        self.up, self.down = Direction(site, hub), Direction(hub, site)
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()

    @staticmethod
    def _ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def prefix(self, address):
        """Before a command, to run it at that end."""
        return ("ip", "netns", "exec", self.spaces[address])

    def close(self):
        self._ended.set()
        self._carrier.join()
        for file in self._files:
            os.close(file)
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)

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
