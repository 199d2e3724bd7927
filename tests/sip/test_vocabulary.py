from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.sip.vocabulary import STATIC_CODECS, TELEPHONE_EVENT, StaticCodec, reason_phrase


class TestReasonPhrase:
    @pytest.mark.parametrize(
        ("status", "phrase"),
        [
            (100, "Trying"),
            (200, "OK"),
            (202, "Accepted"),
            (481, "Call/Transaction Does Not Exist"),
            (487, "Request Terminated"),
            (488, "Not Acceptable Here"),
            (491, "Request Pending"),
            (603, "Decline"),
        ],
    )
    def test_is_that_of_the_standard(self, status: int, phrase: str) -> None:
        assert reason_phrase(status) == phrase

    @pytest.mark.parametrize(
        ("status", "phrase"),
        [
            (181, "Call Is Being Forwarded"),
            (417, "Unknown Resource-Priority"),
            (423, "Interval Too Brief"),
            (425, "Bad Alert Message"),
            (437, "Unsupported Credential"),
            (504, "Server Time-out"),
        ],
    )
    def test_is_ours_where_the_vocabulary_is_misspelt_or_has_a_gap(self, status: int, phrase: str) -> None:
        assert reason_phrase(status) == phrase

    @pytest.mark.parametrize(
        ("status", "phrase"),
        [(199, "Early Dialog Terminated"), (299, "Success"), (499, "Request Failure"), (699, "Global Failure")],
    )
    def test_is_that_of_the_class_where_none_is_registered(self, status: int, phrase: str) -> None:
        assert reason_phrase(status) == phrase


class TestCodecs:
    def test_static_types_are_those_of_rfc_3551(self) -> None:
        assert STATIC_CODECS[0] == StaticCodec(0, "PCMU", 8000)
        assert STATIC_CODECS[8] == StaticCodec(8, "PCMA", 8000)
        assert STATIC_CODECS[9] == StaticCodec(9, "G722", 8000)
        assert STATIC_CODECS[18] == StaticCodec(18, "G729", 8000)
        assert STATIC_CODECS[10].channels == 2
        assert TELEPHONE_EVENT == "telephone-event"

    def test_no_dynamic_type_is_static(self) -> None:
        assert all(0 <= number < 96 and codec.payload_type == number for number, codec in STATIC_CODECS.items())


class TestContract:
    """What we rely on in pyVoIP; a new release that changes it must fail here and not in a call."""

    def test_the_attributes_in_use_exist(self) -> None:
        import pyVoIP
        import pyVoIP.RTP
        import pyVoIP.SIP

        assert pyVoIP.version_info == (1, 6, "8")
        assert int(pyVoIP.SIP.SIPStatus.OK) == 200
        assert pyVoIP.SIP.SIPStatus(486).phrase == "Busy Here"
        member = pyVoIP.RTP.PayloadType.PCMU
        assert (member.value, member.description, member.rate, member.channel) == (0, "PCMU", 8000, 1)
        assert pyVoIP.RTP.PayloadType.EVENT.value == "telephone-event"

    def test_the_import_leaves_the_process_as_it_was(self) -> None:
        program = (
            "import logging, threading, warnings\n"
            "before = (list(warnings.filters), threading.active_count(), list(logging.getLogger().handlers))\n"
            "import gateway.sip.vocabulary\n"
            "after = (list(warnings.filters), threading.active_count(), list(logging.getLogger().handlers))\n"
            "assert before == after, (before, after)\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
