"""What a contact's web service is told of a transfer, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from gateway.calls.record import CallRecord
from gateway.calls.tools.services import ToolServices
from gateway.calls.transfers.report import TransferReport
from gateway.calls.transfers.state import TransferState as S
from gateway.calls.transfers.summary import CallSummary
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.targets import parse_target
from gateway.dialplan.tools import HttpRequest
from tests.support.http_server import HttpServer, answer

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = CallFacts(to="7000", from_="+4930123", at=AT)


def record() -> CallRecord:
    return CallRecord(
        call_id="c1",
        trunk="pbx",
        caller="+4930123",
        called="7000",
        route="r",
        started_at=AT,
        offered_s=0.0,
        notes=("n",),
    )


async def told(
    server: HttpServer, attempts: Sequence[tuple[S, str, bool]], *, is_blind: bool = False, timeout_s: float = 4.0
) -> list[dict[str, object]]:
    services, summary = ToolServices(), CallSummary(lambda: 0.0, lambda: "")
    summary.answer("A refund.")
    request = HttpRequest(method="POST", url=parse_url_template(f"{server.url}/x"), timeout_s=timeout_s, retries=0)
    report = TransferReport(
        services, request, contact="sales", is_blind=is_blind, record=record(), facts=FACTS, summary=summary
    )
    for state, why, is_last in attempts:
        report.note(TransferAttempt(target=parse_target("sip:6001"), state=state, why=why, is_last=is_last))
    await services.close()  # which waits for what is being delivered
    return [json.loads(asked.body) for asked in server.asked]


async def test_it_is_told_when_the_contact_rings_and_how_it_ended() -> None:
    async with HttpServer() as server:
        reports = await told(
            server, [(S.REQUESTED, "", True), (S.RINGING, "", True), (S.WHISPERING, "", True), (S.BRIDGED, "", True)]
        )
    assert reports[0] == {
        "call": "c1",
        "caller": "+4930123",
        "called": "7000",
        "contact": "sales",
        "target": "sip:6001",
        "state": "ringing",
        "why": "",
        "summary": "A refund.",
        "notes": ["n"],
    }
    assert [report["state"] for report in reports] == ["ringing", "joined"]


async def test_a_target_that_gives_way_to_the_next_is_no_end() -> None:
    tried = [(S.RINGING, "", False), (S.FAILED, "busy", False), (S.RINGING, "", True), (S.TIMED_OUT, "no answer", True)]
    async with HttpServer() as server:
        reports = await told(server, tried)
    assert [(report["state"], report["why"]) for report in reports] == [("ringing", ""), ("failed", "no answer")]


async def test_a_caller_who_hangs_up_is_an_end_too_and_a_telephone_that_never_rang_is_told_when_it_is_picked_up() -> (
    None
):
    async with HttpServer() as server:
        reports = await told(
            server, [(S.WHISPERING, "", False), (S.ANSWERED, "", False), (S.CALLER_GONE, "gone", False)]
        )
    told_of = [(report["state"], report["why"]) for report in reports]
    assert told_of == [("ringing", ""), ("failed", "gone")]


async def test_of_a_blind_transfer_the_request_is_told_since_a_pbx_may_not_tell_of_ringing() -> None:
    async with HttpServer() as server:
        reports = await told(
            server, [(S.REQUESTED, "", True), (S.ACCEPTED, "", True), (S.HANDED_OVER, "", True)], is_blind=True
        )
    assert [report["state"] for report in reports] == ["referred", "joined"]


async def test_a_service_that_fails_is_logged_without_the_callers_words_and_changes_nothing() -> None:
    async with HttpServer([answer({}, status=500), answer({})]) as server:
        with structlog.testing.capture_logs() as logs:
            reports = await told(server, [(S.RINGING, "", True), (S.HANDED_OVER, "", True)])
    assert [report["state"] for report in reports] == ["ringing", "joined"]
    [line] = [line for line in logs if line["event"] == "transfer report not delivered"]
    assert (line["contact"], line["state"], "refund" in str(line)) == ("sales", "ringing", False)


async def test_a_service_that_says_nothing_is_given_up_after_its_time() -> None:
    async with HttpServer(is_silent=True) as server:
        with structlog.testing.capture_logs() as logs:
            await told(server, [(S.RINGING, "", True), (S.HANDED_OVER, "", True)], timeout_s=0.1)
    assert [line["state"] for line in logs if line["event"] == "transfer report not delivered"] == ["ringing", "joined"]
