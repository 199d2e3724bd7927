"""What is handed to operators works as it stands: the systemd unit is valid and tight, Asterisk's part fits ours.

That Asterisk takes `deploy/asterisk` is shown by every interop test: the PBX there runs these files unchanged.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.config import load_configuration

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
UNIT = DEPLOY / "systemd/sip-voice-gateway.service"
CONFIGURATION = DEPLOY.parent / "config/asterisk.yaml"
MOST_EXPOSED = 1.5  # of 10; what is left is the network, without which there are no calls


class UnitParser(configparser.RawConfigParser):
    """A unit file: keys keep their case, and some come more than once."""

    def __init__(self) -> None:
        super().__init__(strict=False)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    unit = UnitParser()
    unit.read(UNIT)
    return unit["Service"]


@pytest.fixture
def analysed(tmp_path: Path) -> Path:
    """The unit with a program that exists, for systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    return unit


def test_systemd_finds_nothing_wrong_with_the_unit(analysed: Path) -> None:
    verdict = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", analysed], capture_output=True, text=True, check=False
    )
    assert (verdict.returncode, verdict.stderr) == (0, "")


def test_the_unit_exposes_little_but_the_network(analysed: Path) -> None:
    verdict = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", analysed],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", verdict.stdout)
    assert exposure is not None, verdict.stderr
    assert float(exposure[1]) <= MOST_EXPOSED


def test_systemd_waits_longer_than_a_drain(service: configparser.SectionProxy) -> None:
    """SIGKILL in the middle of the drain would cut the very calls it spares."""
    assert float(service["TimeoutStopSec"]) > load_configuration(CONFIGURATION, environment={}).limits.drain
    assert service["KillMode"] == "mixed"  # the embedded server must outlive SIGTERM, too


def test_systemd_restarts_reloads_and_limits(service: configparser.SectionProxy) -> None:
    assert service["Restart"] == "always"
    assert "-HUP" in service["ExecReload"]
    assert {"MemoryMax", "TasksMax", "LoadCredential"} <= set(service)


def test_asterisk_and_gateway_agree_on_account_and_number() -> None:
    """`config/asterisk.yaml` against `deploy/asterisk`: the same user, password and extension."""
    accounts = (DEPLOY / "asterisk/pjsip.conf").read_text()
    trunk = next(iter(load_configuration(CONFIGURATION, environment={}).sip.trunks.values()))
    assert f"\n[{trunk.username}]\n" in accounts
    assert f"\nusername = {trunk.username}\n" in accounts
    assert f"\npassword = {trunk.password}\n" in accounts
    assert f"PJSIP/{trunk.username}," in (DEPLOY / "asterisk/extensions.conf").read_text()
