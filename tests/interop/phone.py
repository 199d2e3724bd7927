"""A telephone under the test's command: baresip, driven over its TCP control port.

It registers with the PBX as one of its accounts, plays a WAV into every call and records what it hears. Ended by the
pid it was started with. Pitfalls of baresip 1.0 that shape this file: the end of the played file ends the call (so play
long ones), a phone without a terminal must not load `stdio`, `srtp` counts only where it is loaded before `account`,
and a recording's header is complete only after the call.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tests.interop.pbx import HOST, free_port, wait_until
from tests.support.listening import Samples, read_wav, silence

MODULES = ("srtp", "g711", "aufile", "aubridge", "sndfile", "uuid", "account", "contact", "ctrl_tcp", "menu")
MODULE_FOLDERS = ("/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules")
EVENT_DEADLINE_S = 15.0
STOP_DEADLINE_S = 3.0


def obstacle() -> str:
    """Why no phone can be had on this machine; empty when one can."""
    if shutil.which("baresip") is None:
        return "baresip is not installed: apt-get install baresip-core"
    return ""


class Phone:
    """One registered telephone; a context manager.

    Args:
        account: who it is at the PBX; the password is `lab-ACCOUNT`.
        registrar: the PBX's address.
        folder: where its configuration, log and recordings go.
        plays: WAV (8 kHz mono) sent into every call, from its start on.
        answers: whether it takes calls by itself, at once.
        encryption: baresip's word for SRTP: srtp (offered as RTP/AVP with keys), srtp-mand; empty for none.
    """

    def __init__(
        self,
        account: str,
        *,
        registrar: tuple[str, int],
        folder: Path,
        plays: Path,
        answers: bool = False,
        encryption: str = "",
    ) -> None:
        self.account = account
        self.domain = f"{registrar[0]}:{registrar[1]}"
        self.folder = folder
        self.events: list[dict[str, object]] = []
        self._unread = b""
        self._control_port = free_port()
        folder.mkdir(parents=True)
        self._configure(plays, answers, encryption)
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["baresip", "-f", str(folder), "-s"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
            )
        try:
            self._control = wait_until(self._connect, f"{account}: control port of baresip", EVENT_DEADLINE_S)
            self._control.setblocking(False)
            # Told to the log alone: baresip may have registered before the control connection stands.
            wait_until(lambda: re.search(r"200 OK .*binding", self.log), f"{account}: registration", EVENT_DEADLINE_S)
        except BaseException:
            self.close()
            raise

    def _configure(self, plays: Path, answers: bool, encryption: str) -> None:
        modules = next(folder for folder in MODULE_FOLDERS if Path(folder).is_dir())
        lines = [
            "poll_method epoll",
            f"sip_listen {HOST}:{free_port()}",
            f"net_interface {HOST}",
            "call_local_timeout 60",
            "call_max_calls 4",
            "audio_player aubridge,none",
            f"audio_source aufile,{plays}",
            "audio_alert aubridge,none",
            f"snd_path {self.folder}",
            "audio_level no",
            "rtp_ports 30000-39999",
            f"module_path {modules}",
            *(f"module {name}.so" for name in MODULES),
            f"ctrl_tcp_listen {HOST}:{self._control_port}",
        ]
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        (self.folder / "accounts").write_text(
            f"<sip:{self.account}@{self.domain}>;auth_pass=lab-{self.account};audio_codecs=PCMU,PCMA"
            f";regint=60;answermode={'auto' if answers else 'manual'}"
            f"{f';mediaenc={encryption}' if encryption else ''}\n"
        )
        (self.folder / "contacts").touch()

    def _connect(self) -> socket.socket | None:
        try:
            return socket.create_connection((HOST, self._control_port), 1)
        except OSError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the phone, and with it its calls and its registration."""
        if hasattr(self, "_control"):
            self._control.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # ---- commands --------------------------------------------------------------------------------------------
    def dial(self, number: str, *, at: str = "") -> None:
        """Call `number` at the PBX, or at another ``host:port``."""
        self._command("dial", f"sip:{number}@{at or self.domain}")

    def answer(self) -> None:
        """Take the call that rings."""
        self._command("accept")

    def hang_up(self) -> None:
        self._command("hangup")

    def hold(self) -> None:
        self._command("hold")

    def resume(self) -> None:
        self._command("resume")

    def transfer(self, number: str) -> None:
        """Hand the other party on by a blind REFER."""
        self._command("transfer", f"sip:{number}@{self.domain}")

    def press(self, key: str) -> None:
        """Send one key as an RFC 4733 event."""
        self._command("sndcode", key)

    def _command(self, name: str, parameters: str = "") -> None:
        message = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._control.sendall(b"%d:%s," % (len(message), message))

    # ---- what it saw and heard -------------------------------------------------------------------------------
    def mark(self) -> int:
        """The number of events so far, for `wait_for(since=)`."""
        self._pump()
        return len(self.events)

    def has_seen(self, kind: str, *, since: int = 0) -> bool:
        self._pump()
        return any(event.get("type") == kind for event in self.events[since:])

    def wait_for(self, kind: str, *, since: int = 0, timeout_s: float = EVENT_DEADLINE_S) -> dict[str, object]:
        """The first event of `kind`, e.g. CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED. Raises: TimeoutError."""

        def found() -> dict[str, object] | None:
            self._pump()
            return next((event for event in self.events[since:] if event.get("type") == kind), None)

        seen = f"{self.account}: {kind}"
        try:
            return wait_until(found, seen, timeout_s) or {}
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it saw {[event.get('type') for event in self.events]}") from None

    def heard(self) -> Samples:
        """All it heard so far, 8 kHz; complete after the call. baresip begins a new WAV whenever a call is resumed."""
        parts = [read_wav(file)[0] for file in sorted(self.folder.glob("*dec.wav"))]
        return np.concatenate([silence(0), *parts])

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _pump(self) -> None:
        """Take in what baresip has told: netstrings of JSON."""
        try:
            while data := self._control.recv(65536):
                self._unread += data
        except BlockingIOError:
            pass
        while b":" in self._unread:
            length, _, rest = self._unread.partition(b":")
            if len(rest) <= int(length):
                return
            self.events.append(json.loads(rest[: int(length)].decode(errors="replace")))
            self._unread = rest[int(length) + 1 :]
