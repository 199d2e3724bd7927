"""Puts a real Asterisk 22 into a folder, out of the Debian packages that this machine's own apt can reach.

The machine's apt (its mirror, proxy and keys, all found at run time) is pointed at another suite with lists, cache and
status of its own, chooses and downloads Asterisk's whole closure, and the packages are only unpacked. Asterisk then
runs in that folder by ``chroot``: no maintainer scripts, no services, no mounts, nothing of the machine is changed.
Measured: 16-20 s, 215 MB.

Only the standard library is used, so that ``make asterisk`` works before anything is installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("asterisk", "asterisk-core-sounds-en-wav", "asterisk-moh-opsound-wav")
SUITES = ("sid", "bullseye")  # Asterisk 22, else 16: what lies between has no package of it
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_FOLDER = Path("/etc/apt")
NOT_FOR_RUNNING = re.compile(r"^(perl|libperl|gnupg|gpg|dirmngr|pinentry|pci\.ids|adduser|passwd|login)")
INSTALL_DEADLINE_S = 600
DEVICES = {"null": (1, 3, 0o666), "zero": (1, 5, 0o666), "random": (1, 8, 0o444), "urandom": (1, 9, 0o444)}


class InstallError(Exception):
    """Asterisk could not be put into the folder; the text says what failed and where its log is."""


def obstacle() -> str:
    """Why Asterisk cannot be installed on this machine; empty when it can."""
    if os.geteuid() != 0:
        return "installing Asterisk needs root (chroot, device nodes); give ASTERISK_SIP=host:port to use a running one"
    missing = [tool for tool in ("apt-get", "dpkg-deb", "chroot", "tar") if shutil.which(tool) is None]
    if missing or not KEYRING.exists():
        what = ", ".join(missing) or str(KEYRING)
        return f"installing Asterisk needs Debian ({what} is missing); give ASTERISK_SIP=host:port to use a running one"
    return ""


def is_installed(home: Path) -> bool:
    """Whether `home` holds an unpacked Asterisk that has run once."""
    return (home / "root/lab/.version").is_file()


def install(home: Path, report: Callable[[str], None]) -> None:
    """Make `home`/root an Asterisk that runs by chroot; does nothing when it is one. Raises: InstallError."""
    if is_installed(home):
        return
    if reason := obstacle():
        raise InstallError(reason)
    with _only_one(home):
        for suite in () if is_installed(home) else SUITES:
            report(f"installing Asterisk from Debian {suite} into {home} (about 20 s)")
            try:
                _fetch(home, suite)
                _unpack(home)
            except (subprocess.CalledProcessError, OSError) as error:
                report(f"{suite} did not work: {error}; log: {home / 'apt/log'}")
                continue
            report(f"installed {(home / 'root/lab/.version').read_text().strip()}")
            return
    if not is_installed(home):
        raise InstallError(f"no suite gave a working Asterisk; log: {home / 'apt/log'}")


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mirror() -> str:
    """The address this machine's own apt takes its main packages from."""
    for source in sorted(APT_FOLDER.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", source.read_text()):
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if _is_main_archive(fields.get("URIs", ""), fields.get("Suites", "").split()):
                return str(fields["URIs"].split()[0]).rstrip("/")
    for source in [APT_FOLDER / "sources.list", *sorted(APT_FOLDER.glob("sources.list.d/*.list"))]:
        lines = source.read_text() if source.exists() else ""
        for address, suite in re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", lines, re.MULTILINE):
            if _is_main_archive(address, [suite]):
                return str(address).rstrip("/")
    raise InstallError("no Debian mirror found in this machine's apt sources")


def _is_main_archive(addresses: str, suites: list[str]) -> bool:
    beside = re.compile(r"security|updates|backports")
    return bool(addresses) and not beside.search(addresses) and any(not beside.search(suite) for suite in suites)


def _fetch(home: Path, suite: str) -> None:
    """Download the closure of PACKAGES from `suite` into `home`/apt/cache/archives."""
    folder = home / "apt"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "state", "etc"):
        (folder / name).mkdir(parents=True)
    (folder / "state/status").touch()  # an empty machine: so that apt chooses the whole closure
    (folder / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    options = {
        "Dir::Etc::SourceList": folder / "etc/sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": folder / "state",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "state/status",
        "Dir::Cache": folder / "cache",
        "Dir::Cache::Archives": folder / "cache/archives",
        "APT::Keep-Downloaded-Packages": "true",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "3",
        "Acquire::Check-Valid-Until": "false",  # a frozen mirror's Release may have expired; signatures are checked
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        "DPkg::Lock::Timeout": "600",
    }
    apt = ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    with (folder / "log").open("w") as log:
        for verb in (["update"], ["-y", "--download-only", "install", *PACKAGES]):
            subprocess.run(
                [*apt, *verb], stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=True, timeout=INSTALL_DEADLINE_S
            )


def _unpack(home: Path) -> None:
    """Unpack what was fetched into `home`/root, add what a chroot lacks, and let Asterisk print its version there."""
    new = home / "root.new"
    shutil.rmtree(new, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):  # links first: packages of a merged /usr still name the old folders
        (new / "usr" / name).mkdir(parents=True)
        (new / name).symlink_to(f"usr/{name}")
    archives = [a for a in (home / "apt/cache/archives").glob("*.deb") if not NOT_FOR_RUNNING.match(a.name)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda archive: _unpack_one(archive, new), archives))
    _furnish(new)
    version = subprocess.run(
        ["chroot", str(new), "/usr/sbin/asterisk", "-V"], capture_output=True, text=True, check=True, timeout=30
    )
    (new / "lab/.version").write_text(version.stdout)
    shutil.rmtree(home / "root", ignore_errors=True)
    new.rename(home / "root")
    shutil.rmtree(home / "apt/cache")
    shutil.rmtree(home / "apt/lists")


def _unpack_one(archive: Path, target: Path) -> None:
    left_out = ("./usr/share/doc/*/changelog*", "./usr/share/man", "./usr/share/locale")
    content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    try:
        subprocess.run(
            ["tar", "-C", str(target), "-xf", "-", "--keep-directory-symlink", "--no-same-owner"]
            + [f"--exclude={pattern}" for pattern in left_out],
            stdin=content.stdout,
            check=True,
        )
    finally:
        if content.stdout is not None:
            content.stdout.close()
        content.wait()


def _furnish(root: Path) -> None:
    for name in ("dev", "proc", "tmp", "run", "etc", "lab"):
        (root / name).mkdir(exist_ok=True)
    for name, (major, minor, mode) in DEVICES.items():
        os.mknod(root / "dev" / name, mode | stat.S_IFCHR, os.makedev(major, minor))
        (root / "dev" / name).chmod(mode)
    etc = root / "etc"
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nasterisk:x:100:100::/:/bin/false\n")
    (etc / "group").write_text("root:x:0:\nasterisk:x:100:\n")
    # Asterisk looks its own host name up; no DNS, so that nothing leaves the machine.
    (etc / "hosts").write_text(f"127.0.0.1 localhost pbx.lab {os.uname().nodename}\n::1 localhost\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    (etc / "resolv.conf").write_text("")
    sounds = root / "usr/share/asterisk/sounds"
    if not (sounds / "en").exists():
        (sounds / "en").symlink_to("en_US_f_Allison")
