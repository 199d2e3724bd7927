"""A Kamailio on an address of its own in 127.0.0.0/8, in front of gateways; `kamailio/kamailio.cfg` is what it does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.pbx import free_port, wait_until

CONFIGURATION = Path(__file__).parent / "kamailio/kamailio.cfg"
START_DEADLINE_S = 10.0


def obstacle() -> str:
    """Why Kamailio cannot be had on this machine; empty when it can."""
    return "" if shutil.which("kamailio") else "Kamailio is not installed: apt-get install kamailio"


class KamailioProxy:
    """A running Kamailio; a context manager that ends what it started.

    `gateways` are the SIP ports on 127.0.0.1 among which it chooses.
    """

    def __init__(self, host: str, gateways: Sequence[int], folder: Path) -> None:
        folder.mkdir(parents=True)
        self.host, self.port = host, free_port()
        self._folder = folder
        self._log = folder / "log"
        (folder / "gateways").write_text("".join(f"1 sip:127.0.0.1:{port}\n" for port in gateways))
        text = CONFIGURATION.read_text().replace("@LISTEN@", f"{host}:{self.port}").replace("@HOME@", str(folder))
        (folder / "kamailio.cfg").write_text(text)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["kamailio", "-f", str(folder / "kamailio.cfg"), "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its workers are ended with it
            )
        try:
            wait_until(self._is_up, "Kamailio's control socket", START_DEADLINE_S)
        except TimeoutError as error:
            self.kill()
            raise TimeoutError(f"{error}; its log:\n{self._log.read_text()[-2000:]}") from None

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise TimeoutError(f"Kamailio ended with {self._process.returncode}")
        return (self._folder / "ctl").exists() and bool(self.gateways())

    def gateways(self) -> dict[int, bool]:
        """Whether it takes each gateway for alive, by port."""
        command = ["kamcmd", "-s", f"unix:{self._folder}/ctl", "dispatcher.list"]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout
        found = re.findall(r"URI: sip:127\.0\.0\.1:(\d+)[\s\S]*?FLAGS: (\w)", told)
        return {int(port): flag == "A" for port, flag in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """End it where it stands, workers too; nobody is told."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
