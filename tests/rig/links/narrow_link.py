"""A link of a given speed between this machine and a network namespace on it, and its counters.

    dialler in the namespace  --veth, tbf each way-->  listener out here

It needs root, `ip` and `tc` (iproute2). Every packet is one TCP segment, as on a real wire, so that
the interface counts headers and retransmissions as a provider would.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.rig.programs import lacking, needed

HERE: Final = "10.213.77.1"
"""Where a listener out here is found from inside."""
_THERE: Final = "10.213.77.2"
_HEADER_BYTES: Final = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps


def why_not() -> str:
    """Return why there can be no such link here, "" where there can."""
    return lacking("ip", "tc") or ("network namespaces need root" if os.geteuid() else "")


@dataclass(frozen=True, slots=True)
class Sent:
    """What the system counted at the interface of the dialling side.

    Args:
        wire_bytes: frames, with all headers.
        packets: one TCP segment each.
    """

    wire_bytes: int
    packets: int

    @property
    def tcp_bytes(self) -> int:
        """Bytes without headers, retransmitted ones again."""
        return self.wire_bytes - _HEADER_BYTES * self.packets


class NarrowLink:
    """Made by `narrow_link`."""

    def __init__(self, name: str, rate_bps: int) -> None:
        self._inside, self._outside = f"{name}-i", f"{name}-o"
        self._name = name
        self._rate_bps = rate_bps

    def lay(self) -> None:
        """Make namespace, interfaces and limits."""
        one_segment = "gso_max_segs 1"
        _run("ip", f"netns add {self._name}")
        _run(
            "ip",
            f"link add {self._outside} {one_segment} type veth"
            f" peer name {self._inside} {one_segment} netns {self._name}",
        )
        for space, device, address in (
            ("", self._outside, HERE),
            (f"-n {self._name}", self._inside, _THERE),
        ):
            _run("ip", f"{space} address add {address}/24 dev {device}")
            _run("ip", f"{space} link set {device} up")
            limit = f"tbf rate {self._rate_bps}bit burst 16kb latency 100ms"
            _run("tc", f"{space} qdisc add dev {device} root {limit}")
        _run("ip", f"-n {self._name} link set lo up")

    def remove(self) -> None:
        """Remove all of it."""
        for words in (f"link delete {self._outside}", f"netns delete {self._name}"):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", words)

    def inside(self, *command: str) -> Sequence[str]:
        """Return the command that runs `command` on the other side."""
        return (needed("ip"), "netns", "exec", self._name, *command)

    def cut(self) -> None:
        """Carry nothing; nobody is told."""
        _run("ip", f"link set {self._outside} down")

    def heal(self) -> None:
        """Carry everything again."""
        _run("ip", f"link set {self._outside} up")

    def sent(self) -> Sent:
        """Return what left the other side so far."""
        (link,) = json.loads(_run("ip", f"-n {self._name} -s -j link show {self._inside}"))
        found: dict[str, Any] = link["stats64"]["tx"]
        return Sent(int(found["bytes"]), int(found["packets"]))


@contextlib.contextmanager
def narrow_link(rate_bps: int) -> Iterator[NarrowLink]:
    """Lay a link, and remove it afterwards."""
    link = NarrowLink(f"cc{os.getpid() % 10**6}", rate_bps)
    try:
        link.lay()
        yield link
    finally:
        link.remove()


def _run(name: str, words: str) -> str:
    command = (needed(name), *words.split())
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
