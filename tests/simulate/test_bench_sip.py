"""The SIP bench: both contenders make whole calls, and the report is computed from what was measured."""

from __future__ import annotations

import json

import pytest

from gateway.simulate import bench_sip
from gateway.simulate.bench_sip import _ANSWERING, _PLACING, BenchRow, _agent, _Pair, _PlainPair
from gateway.sip.message import Response, parse_message

CALL = ["INVITE", "100 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]


def label(data: bytes) -> str:
    message = parse_message(data)
    return f"{message.status} {message.cseq.method}" if isinstance(message, Response) else message.method


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_call_is_six_valid_messages_of_one_dialog_that_is_over_after_them(is_ours: bool) -> None:
    agents = _agent(_PLACING, _ANSWERING), _agent(_ANSWERING, _PLACING)
    pair = _Pair(*agents) if is_ours else _PlainPair()
    for _ in range(3):
        messages = pair.call()
        assert [label(data) for data in messages] == CALL
        assert len({parse_message(data).call_id for data in messages}) == 1
    assert [agent.leg_count for agent in agents] == [0, 0]
    assert min(pair.spent_ns) > 0


def test_calls_are_remembered_as_long_as_their_transactions() -> None:
    placing, answering = _agent(_PLACING, _ANSWERING), _agent(_ANSWERING, _PLACING)
    pair = _Pair(placing, answering)
    for _ in range(round(bench_sip.REMEMBERED_S * bench_sip.CALLS_PER_S)):
        pair.call()
    remembered = answering.transaction_count
    for _ in range(20):
        pair.call()
    assert answering.transaction_count == remembered > 500


def test_both_reports_tell_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    result = bench_sip.run(json=True, calls=2, remembered_s=0.1)
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "sip"
    names = [row["name"].partition(",")[0] for row in told["rows"]]
    assert names == ["parse INVITE", "parse 200 with SDP", "parse BYE", "answer a call", "place a call"]
    for row, row_told in zip(result.rows, told["rows"], strict=True):
        assert min(row.ours_us, row.baseline_us) > 0
        assert row_told["per_s"] == round(1e6 / row.ours_us)
        assert row.as_text() in result.as_text()
    head, *_, ours, email, ratio = result.as_text().splitlines()
    assert head.split() == ["sip", "ours", "email", "ratio", "we", "do"]
    assert ours.startswith("ours: CPU time of a message parsed")
    assert email.startswith("email: the same by Python's email.parser")
    assert ratio == "ratio: email / ours; below 1x is what being right costs. we do: how many a second one core does"


def test_a_row_tells_how_many_times_cheaper_than_the_baseline_we_are() -> None:
    row = BenchRow(name="parse", ours_us=50.0, baseline_us=25.0)
    assert (row.ratio, row.per_s) == (0.5, 20_000)
    assert row.as_json() == {"name": "parse", "ours_us": 50.0, "baseline_us": 25.0, "ratio": 0.5, "per_s": 20_000}
