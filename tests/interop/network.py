"""Two hosts on one machine: network namespaces joined by a wire that loses SIP at random (iproute2 and nftables, root).

Nothing outside the namespaces is touched, and everything goes with them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from types import TracebackType
from typing import Self

SIP_PORT = 5060
RULES = """\
table ip wire {{
  chain arriving {{
    type filter hook input priority 0
    udp {end} {port} numgen random mod 100 < {percent} counter drop
  }}
}}
"""
"""Packets are lost on arrival: one that is dropped where it leaves is an error that its sender is told."""


def obstacle() -> str:
    """Why there can be no lossy wire on this machine; empty when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"{', '.join(missing)} missing: apt-get install iproute2 nftables" if missing else ""


class NotAllowed(Exception):
    """This machine, most likely a container, lets nobody make namespaces, wires or packet filters."""


class LossyWire:
    """`far` and `near`, one wire between them; of the SIP that `far` (port 5060) sends and gets, a share is lost.

    `within(host)` is put before a command that runs there.
    """

    near = "10.231.77.1"
    far = "10.231.77.2"

    def __init__(self, loss_percent: int) -> None:
        self._loss_percent = loss_percent
        self._names = {self.near: f"wire-{os.getpid()}-near", self.far: f"wire-{os.getpid()}-far"}

    def within(self, host: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._names[host])

    def __enter__(self) -> Self:
        """Raises: NotAllowed."""
        try:
            self._lay()
        except subprocess.CalledProcessError as error:
            self._remove()
            if re.search("not permitted|not supported|denied", error.stderr or "", re.IGNORECASE):
                raise NotAllowed(error.stderr.strip()) from error
            raise
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def _lay(self) -> None:
        near, far = self._names.values()
        for name in (near, far):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "link", "add", "wire", "netns", near, "type", "veth", "peer", "name", "wire", "netns", far)
        for host, name in self._names.items():
            _run("ip", "-n", name, "addr", "add", f"{host}/30", "dev", "wire")
            _run("ip", "-n", name, "link", "set", "wire", "up")
        for host, end in ((self.far, "dport"), (self.near, "sport")):
            rules = RULES.format(end=end, port=SIP_PORT, percent=self._loss_percent)
            _run(*self.within(host), "nft", "-f", "-", told=rules)

    def lost(self) -> list[int]:
        """How many SIP packets were lost on the way to `far` and from it."""
        texts = [_run(*self.within(host), "nft", "list", "table", "ip", "wire") for host in (self.far, self.near)]
        return [int(re.findall(r"counter packets (\d+)", text)[0]) for text in texts]

    def _remove(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _run(*command: str, told: str = "") -> str:
    return subprocess.run(command, input=told, check=True, capture_output=True, text=True).stdout
