"""A real Asterisk on loopback: the PBX that the interop tests and ``make asterisk`` talk to.

Its configuration is ``tests/interop/asterisk`` plus ``deploy/asterisk`` as it stands. Several run side by side out of
one installation: each has a name, a folder and ports of its own. One is ended by the pid it was started with, after a
look that the pid is still that Asterisk.

From the shell, ports as ``config/asterisk.yaml`` expects them::

    python -m tests.interop.pbx start       install if needed, start on 127.0.0.1:5070
    python -m tests.interop.pbx console CMD a line for Asterisk's console, e.g. "pjsip show contacts"
    python -m tests.interop.pbx stop
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.interop import asterisk_package, certificates

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("ASTERISK_HOME") or REPOSITORY / ".asterisk")
HOST = "127.0.0.1"
START_DEADLINE_S = 30
STOP_DEADLINE_S = 8
POLL_S = 0.05
T = TypeVar("T")


class PbxError(Exception):
    """The PBX did not do what was asked; the text holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where one Asterisk listens; the RTP range includes both ends."""

    sip: int = 5070
    tls: int = 5071
    rtp_first: int = 20000
    rtp_last: int = 20999
    http: int = 8088

    @classmethod
    def free(cls) -> Ports:
        """Ports nobody uses now. RTP ranges of two PBXs may meet: Asterisk passes over a port that is taken."""
        first = 20000 + 400 * random.randrange(25)
        return cls(sip=free_port(), tls=free_port(), rtp_first=first, rtp_last=first + 399, http=free_port())


WORKERS, PORTS_OF_A_WORKER = 4, 2500


def free_port(lowest: int = 10000) -> int:
    """A port that is free for UDP and TCP, three free UDP ones behind it (RTCP, SIPp's video).

    Of a range that the kernel gives nobody by chance (ip_local_port_range), and that no other worker of the same test
    run draws from, so that it is still free when it is used: 10,000 ports from `lowest`.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    first = lowest + worker * PORTS_OF_A_WORKER
    while True:
        port = random.randrange(first, first + PORTS_OF_A_WORKER - 4, 2)
        with ExitStack() as probes, suppress(OSError):
            probes.enter_context(socket.socket()).bind((HOST, port))
            for number in range(port, port + 4):
                probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((HOST, number))
            return port


@dataclass(slots=True, kw_only=True)
class Pbx:
    """One Asterisk: start it, command it by its console, originate calls by ARI, read its log and recordings."""

    name: str = "pbx"
    ports: Ports = field(default_factory=Ports)
    home: Path = HOME
    gateway_part: Path = REPOSITORY / "deploy/asterisk"
    """Folder with the gateway's `pjsip.conf` and `extensions.conf`."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.ports.sip

    @property
    def root(self) -> Path:
        return self.home / "root"

    @property
    def folder(self) -> Path:
        """The instance's folder as this process sees it; Asterisk sees it as `/lab/NAME`."""
        return self.root / "lab" / self.name

    @property
    def sounds(self) -> Path:
        """Recorded human speech, 8 kHz mono WAV (Allison Smith, CC-BY-SA 3.0)."""
        return self.root / "usr/share/asterisk/sounds/en_US_f_Allison"

    @property
    def authority(self) -> Path:
        """The certificate of who has signed the PBX's own."""
        return self.folder / "keys/ca.crt"

    @property
    def recordings(self) -> Path:
        return self.folder / "spool/monitor"

    @property
    def version(self) -> str:
        return (self.root / "lab/.version").read_text().strip()

    # ---- life ------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start with an empty registrar and fresh configuration; returns when calls can be made. Raises: PbxError."""
        if self.pid() is not None:
            return
        for name in ("etc", "run", "db"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("etc", "run", "db", "log", "lib", "keys", "spool/monitor", "spool/tmp", "spool/prompts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._render()
        self._make_certificates()
        self._process = self._spawn()
        (self.folder / "run/pid").write_text(str(self._process.pid))
        self._await_ready(self._process)

    def stop(self) -> None:
        """End it; returns when it is gone."""
        pid = self.pid()
        if pid is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            with suppress(TimeoutError):
                wait_until(lambda: self.pid() is None, f"end of pid {pid}", STOP_DEADLINE_S)
                break
        if self._process is not None:
            self._process.wait(STOP_DEADLINE_S)

    def kill(self) -> None:
        """End it as a power cut would: nobody is told."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_DEADLINE_S)

    def remove(self) -> None:
        """End it and delete its folder, recordings and logs with it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pid(self) -> int | None:
        """The pid of this instance while it runs; None when there is none or the number was reused by another."""
        try:
            pid = int((self.folder / "run/pid").read_text())
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            same_root = Path(f"/proc/{pid}/root").resolve() == self.root.resolve()
        except (OSError, ValueError):
            return None
        return pid if same_root and f"/lab/{self.name}/etc/asterisk.conf" in line else None

    def _render(self) -> None:
        modules = next(path for path in self.root.glob("usr/lib/**/asterisk/modules") if path.is_dir())
        words = {
            "HOME": f"/lab/{self.name}",
            "MODULES": "/" + str(modules.relative_to(self.root)),
            "SIP_PORT": self.ports.sip,
            "TLS_PORT": self.ports.tls,
            "RTP_FIRST": self.ports.rtp_first,
            "RTP_LAST": self.ports.rtp_last,
            "HTTP_PORT": self.ports.http,
        }
        for template in (REPOSITORY / "tests/interop/asterisk").glob("*.conf"):
            text = re.sub(r"@([A-Z_]+)@", lambda mark: str(words[mark[1]]), template.read_text())
            (self.folder / "etc" / template.name).write_text(text)
        for part in self.gateway_part.glob("*.conf"):
            shutil.copyfile(part, self.folder / "etc" / f"gateway-{part.name}")

    def _make_certificates(self) -> None:
        """Who trusts `keys/ca.crt` trusts this PBX. Without openssl it has no TLS, and says so in its log."""
        if not certificates.obstacle() and not (self.folder / "keys/ca.crt").exists():
            certificates.make_authority(self.folder / "keys")
            certificates.make_certificate(self.folder / "keys", "pbx", HOST)

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/tmp", "TERM": "dumb", "LANG": "C.UTF-8", "TZ": "UTC"}  # noqa: S108
        with (self.folder / "log/console").open("w") as log:
            return subprocess.Popen(
                [
                    "chroot",
                    str(self.root),
                    "/usr/sbin/asterisk",
                    "-f",
                    "-n",
                    "-C",
                    f"/lab/{self.name}/etc/asterisk.conf",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C in pytest ends pytest, which then ends this in order
            )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < end:
            if process.poll() is not None:
                raise PbxError(f"Asterisk ended at start\n{self._log_end()}")
            if "fully booted" in self.console("core waitfullybooted"):
                if f"{HOST}:{self.ports.sip}" not in self.console("pjsip show transports"):
                    self.stop()
                    raise PbxError(
                        f"no SIP transport on {HOST}:{self.ports.sip}: is the port taken?\n{self._log_end()}"
                    )
                return
            time.sleep(POLL_S)
        self.stop()
        raise PbxError(f"Asterisk was not ready within {START_DEADLINE_S} s\n{self._log_end()}")

    # ---- log and console -------------------------------------------------------------------------------------
    def console(self, line: str) -> str:
        """What Asterisk's console answers to `line`; empty while it is not up."""
        command = ["chroot", str(self.root), "/usr/sbin/asterisk", "-C", f"/lab/{self.name}/etc/asterisk.conf"]
        answer = subprocess.run([*command, "-rx", line], capture_output=True, text=True, check=False, timeout=20)
        return answer.stdout

    @property
    def log_file(self) -> Path:
        return self.folder / "log/messages"

    def log_mark(self) -> int:
        """The log's length now, for `wait_for_log(since=)`."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def log_since(self, mark: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def wait_for_log(self, pattern: str, *, since: int, timeout_s: float = 10) -> re.Match[str]:
        """The first match of `pattern` in what was logged after `since`. Raises: PbxError with that log."""
        try:
            return wait_until(lambda: re.search(pattern, self.log_since(since)), pattern, timeout_s)
        except TimeoutError as error:
            raise PbxError(f"{error}; its log:\n{self.log_since(since)[-4000:]}") from None

    def _log_end(self) -> str:
        files = [file for file in (self.folder / "log/console", self.log_file) if file.exists()]
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files)

    # ---- calls -----------------------------------------------------------------------------------------------
    def originate(
        self,
        number: str,
        *,
        prompt: str = "",
        keys: str = "",
        after: str = "",
        delay_s: float = 1,
        stay_s: float = 30,
        record: str = "",
        is_wideband: bool = False,
    ) -> str:
        """Let a scripted caller (extensions.conf, `callers`) call `number`; returns the id of its channel.

        `prompt`, and `after` behind the keys, are names from `sounds` or what `add_prompt` returned. With `record`,
        `heard(record)` is what the caller heard: complete after the call. A wideband caller hears, says and records at
        16 kHz.
        """
        variables = {
            "PROMPT": prompt,
            "KEYS": keys,
            "AFTER": after,
            "DELAY": delay_s,
            "STAY": stay_s,
            "RECORD": record,
            "KIND": "wav16" if is_wideband else "wav",
        }
        # Left alone, a Local channel resamples to 192 kHz (3 % of a core); in G.711 it may go deaf after a transfer.
        formats = "slin16" if is_wideband else "slin"
        query = {"endpoint": f"Local/{number}@lab", "extension": "scripted", "context": "callers", "formats": formats}
        body = {"variables": {name: str(value) for name, value in variables.items()}}
        return str(self.ari("POST", "channels", query, body)["id"])

    def hang_up(self, channel: str) -> None:
        """End a channel that `originate` returned; nothing happens when it has ended by itself."""
        with suppress(PbxError):
            self.ari("DELETE", f"channels/{channel}", {})

    def hang_up_all(self) -> None:
        """End every call and wait until none is left."""
        self.console("channel request hangup all")
        self.wait_until_idle()

    def add_prompt(self, file: Path) -> str:
        """Make `file` a prompt of this PBX; returns its name for `originate`. Mono WAV of 8 kHz, .wav16 of 16 kHz."""
        shutil.copyfile(file, self.folder / "spool/prompts" / file.name)
        return f"/lab/{self.name}/spool/prompts/{file.stem}"

    def heard(self, record: str) -> Path:
        """The WAV of what the scripted caller with this `record` name heard."""
        wide = self.recordings / f"{record}-heard.wav16"
        return wide if wide.exists() else wide.with_suffix(".wav")

    def said(self, record: str) -> Path:
        return self.recordings / f"{record}-said.wav"

    def wait_until_idle(self, timeout_s: float = 10) -> None:
        """Wait until no call is left; recordings are complete then. Raises: TimeoutError."""
        wait_until(lambda: "0 active channels" in self.console("core show channels count"), "no calls", timeout_s)

    def trace_sip(self, is_on: bool = True) -> None:
        """Write every SIP message into the log from now on, or no longer."""
        self.console(f"pjsip set logger {'on' if is_on else 'off'}")

    def contact_status(self, account: str) -> str:
        """`Avail`, `Unavail`, `NonQual` ... of the account's contact; empty when nobody is registered."""
        found = re.search(rf"Contact:\s+{re.escape(account)}/\S+\s+\S+\s+(\w+)", self.console("pjsip show contacts"))
        return found[1] if found else ""

    def ari(self, method: str, path: str, query: Mapping[str, object], body: object = None) -> dict[str, object]:
        """One request to the Asterisk REST Interface. Raises: PbxError with its answer."""
        url = f"http://{HOST}:{self.ports.http}/ari/{path}?{urllib.parse.urlencode(query)}"
        headers = {"Authorization": "Basic " + base64.b64encode(b"lab:lab-ari").decode()}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise PbxError(f"ARI {method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        return dict(json.loads(content)) if content else {}


def wait_until(condition: Callable[[], T], what: str, timeout_s: float) -> T:
    """The first true value of `condition`, asked again and again. Raises: TimeoutError that names `what`."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not seen within {timeout_s} s: {what}")
        time.sleep(POLL_S)
    return value


def remove_abandoned(home: Path = HOME) -> None:
    """Stop and delete the PBXs of test runs (named `test-PID` or `test-PID-…`) whose pytest was killed."""
    for folder in (home / "root/lab").glob("test-*"):
        pid = folder.name.split("-")[1]
        if not Path(f"/proc/{pid}").exists():
            Pbx(name=folder.name, home=home).remove()


def main() -> int:
    parser = argparse.ArgumentParser(prog="pbx", description="A real Asterisk on loopback, for hand testing.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install", help="fetch and unpack Asterisk; nothing when it is there")
    verbs.add_parser("start", help="install if needed, then start on 127.0.0.1:5070")
    verbs.add_parser("stop", help="end it by its recorded pid")
    verbs.add_parser("console", help="one line for its console").add_argument("line", nargs="+")
    arguments = parser.parse_args()
    pbx = Pbx()
    try:
        if arguments.verb in {"install", "start"}:
            asterisk_package.install(pbx.home, _say)
        if arguments.verb == "start":
            pbx.start()
            _say(f"{pbx.version} is up: SIP {HOST}:{pbx.ports.sip}, pid {pbx.pid()}, log {pbx.log_file}")
        elif arguments.verb == "stop":
            pbx.stop()
        elif arguments.verb == "console":
            sys.stdout.write(pbx.console(" ".join(arguments.line)))
    except (asterisk_package.InstallError, PbxError) as error:
        sys.stderr.write(f"pbx: {error}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"pbx: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
