"""The laboratory itself: a PBX that starts, phones that register with it, recordings that hold what was played."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.interop import asterisk_package
from tests.interop.conftest import AGENT_TONE_HZ, PhoneMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.phone import Phone
from tests.support.listening import align, read_wav, tone, tone_seconds, write_wav


def test_a_real_asterisk_runs(pbx: Pbx) -> None:
    assert pbx.version.startswith("Asterisk ")
    assert "Unavailable" in pbx.console("pjsip show endpoint gateway")


@pytest.mark.parametrize(("user_id", "has_apt", "word"), [(1000, True, "root"), (0, False, "Debian"), (0, True, "")])
def test_where_asterisk_cannot_be_installed_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, user_id: int, has_apt: bool, word: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user_id)
    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/bin/{tool}" if has_apt else None)
    monkeypatch.setattr(asterisk_package, "KEYRING", Path(__file__))
    reason = asterisk_package.obstacle()
    assert word in reason
    assert bool(word) == ("ASTERISK_SIP=host:port" in reason)


def test_two_pbxs_run_side_by_side(pbx: Pbx) -> None:
    other = Pbx(name=f"{pbx.name}-b", ports=type(pbx.ports).free())
    try:
        other.start()
        assert pbx.pid() != other.pid()
    finally:
        other.remove()
    assert other.pid() is None
    assert pbx.pid() is not None


def test_a_phone_registers_and_is_reachable(pbx: Pbx, make_phone: PhoneMaker) -> None:
    make_phone("alice")
    wait_until(lambda: pbx.contact_status("alice") == "Avail", "alice is reachable", 5)


def test_two_phones_hear_each_other(make_phone: PhoneMaker, agent_phone: Phone) -> None:
    alice = make_phone("alice")
    alice.dial("6001")
    alice.wait_for("CALL_ESTABLISHED")
    time.sleep(2)
    alice.hang_up()
    agent_phone.wait_for("CALL_CLOSED")
    assert tone_seconds(alice.heard(), AGENT_TONE_HZ) > 1.0
    assert tone_seconds(agent_phone.heard(), AGENT_TONE_HZ) == 0


def test_a_scripted_caller_records_what_it_says_and_hears(pbx: Pbx) -> None:
    prompt = pbx.sounds / "queue-periodic-announce.wav"
    pbx.originate("600", prompt="queue-periodic-announce", delay_s=0.5, stay_s=1, record="echo")
    pbx.wait_until_idle(20)
    heard, rate_hz = read_wav(pbx.heard("echo"))
    found = align(read_wav(prompt)[0], heard)
    assert rate_hz == 8000
    assert found.speed == pytest.approx(1.0, abs=0.001)
    assert found.correlation > 0.95


def test_a_prompt_of_our_own_is_played(pbx: Pbx, tmp_path: Path, agent_phone: Phone) -> None:
    name = pbx.add_prompt(write_wav(tmp_path / "tone-600.wav", tone(600, 2)))
    pbx.originate("6001", prompt=name, delay_s=0.5, stay_s=0.5, record="own")
    agent_phone.wait_for("CALL_CLOSED")
    assert tone_seconds(agent_phone.heard(), 600) > 1.5
    assert tone_seconds(read_wav(pbx.heard("own"))[0], AGENT_TONE_HZ) > 1.5
