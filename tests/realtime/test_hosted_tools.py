"""Tools on servers that the provider calls itself: passed on, approved by configuration, told of when they fail."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from gateway.realtime.session import HostedServer, Secret, Tool, ToolCalled
from tests.support.openai_peer import Peer

TOKEN = "token-never-shown"
HEADER = "header-never-shown"


def server(**changes: Any) -> HostedServer:
    given = {"label": "crm", "url": "https://crm.example/mcp", "authorization": Secret(TOKEN)}
    return HostedServer(**given | {"headers": (("X-Key", HEADER),)} | changes)


def asks(peer: Peer, request_id: str = "req_1", response_id: str = "resp_1", **item: object) -> list[Any]:
    """The provider wants a call approved."""
    request = {
        "id": request_id,
        "type": "mcp_approval_request",
        "server_label": "crm",
        "name": "look",
        "arguments": "{}",
    }
    return peer.send("response.output_item.done", response_id=response_id, item=request | item)


def decisions(peer: Peer) -> list[tuple[str, bool]]:
    """What was answered: request and decision."""
    peer.drain()
    items = [event["item"] for event in peer.sent if event["type"] == "conversation.item.create"]
    return [(item["approval_request_id"], item["approve"]) for item in items]


# --- passed on --------------------------------------------------------------------------------------------------------


def test_server_is_passed_on_behind_the_tools_we_carry_out() -> None:
    peer = Peer(is_ready=False, tools=(Tool(name="transfer"),), hosted_servers=(server(),))
    peer.send("session.created")
    tools = peer.sent[0]["session"]["tools"]
    assert [tool.get("name") or tool["server_label"] for tool in tools] == ["transfer", "crm"]
    assert tools[1] == {
        "type": "mcp",
        "server_label": "crm",
        "server_url": "https://crm.example/mcp",
        "authorization": TOKEN,
        "headers": {"X-Key": HEADER},
        "require_approval": "always",
    }


def test_connector_goes_by_its_id_and_tools_may_be_chosen() -> None:
    given = server(url="", connector_id="connector_gmail", allowed_tools=("search",), description="Mail", headers=())
    peer = Peer(is_ready=False, hosted_servers=(given,))
    peer.send("session.created")
    (tool,) = peer.sent[0]["session"]["tools"]
    assert (tool["connector_id"], tool["allowed_tools"], tool["server_description"]) == (
        "connector_gmail",
        ["search"],
        "Mail",
    )
    assert "server_url" not in tool


def test_secrets_of_a_server_are_not_shown() -> None:
    shown = repr(server())
    assert TOKEN not in shown
    assert HEADER not in shown


# --- approval ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approves", "tool", "expected"),
    [
        ("never", "look", False),
        ("always", "look", True),
        (("look", "see"), "look", True),
        (("see",), "look", False),
        ((), "look", False),
        (("never", "always"), "look", False),
    ],
)
def test_approval_is_answered_as_configured(
    approves: Literal["always", "never"] | tuple[str, ...], tool: str, expected: bool
) -> None:
    peer = Peer(hosted_servers=(server(approves=approves),))
    peer.begin()
    assert asks(peer, name=tool) == []
    assert decisions(peer) == [("req_1", expected)]
    assert peer.statistics.denied_approvals == (not expected)


def test_nothing_is_approved_by_default_nor_for_a_server_that_we_did_not_name() -> None:
    peer = Peer(hosted_servers=(server(), server(label="erp", approves="always")))
    peer.begin()
    asks(peer, "req_1")
    asks(peer, "req_2", server_label="other")
    asks(peer, "req_3", server_label="")
    assert decisions(peer) == [("req_1", False), ("req_2", False), ("req_3", False)]


def test_model_goes_on_once_after_the_reply_that_asked() -> None:
    peer = Peer(hosted_servers=(server(approves="always"),))
    peer.begin()
    asks(peer, "req_1")
    asks(peer, "req_2")
    assert peer.take() == ["conversation.item.create"] * 2
    peer.end()
    assert peer.take() == ["response.create"]


def test_nothing_is_approved_for_a_reply_that_the_caller_interrupted() -> None:
    peer = Peer(hosted_servers=(server(approves="always"),))
    peer.begin()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    asks(peer)
    peer.end(status="cancelled")
    assert decisions(peer) == [("req_1", False)]
    assert peer.take() == ["conversation.item.create"]


def test_approval_is_answered_once_though_told_twice() -> None:
    peer = Peer(hosted_servers=(server(),))
    peer.begin()
    asks(peer)
    request = {"id": "req_1", "type": "mcp_approval_request", "server_label": "crm", "name": "look", "arguments": "{}"}
    peer.end(output=[request])
    assert peer.take() == ["conversation.item.create", "response.create"]


def test_approval_told_in_the_summary_alone_is_answered() -> None:
    peer = Peer(hosted_servers=(server(),))
    peer.begin()
    request = {"id": "req_1", "type": "mcp_approval_request", "server_label": "crm", "name": "look", "arguments": "{}"}
    peer.end(output=[request])
    assert peer.take() == ["conversation.item.create", "response.create"]


def test_approval_and_function_call_of_one_reply_lead_to_one_reply() -> None:
    peer = Peer(hosted_servers=(server(),), tools=(Tool(name="look"),))
    peer.begin()
    asks(peer)
    assert [type(event) for event in peer.call("c1")] == [ToolCalled]
    peer.end()
    assert peer.take() == ["conversation.item.create"]
    peer.result("c1")
    assert peer.take() == ["conversation.item.create", "response.create"]


def test_approval_that_the_callers_turn_has_seen_asks_for_no_reply() -> None:
    peer = Peer(hosted_servers=(server(),))
    peer.begin()
    asks(peer)
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    item = {"type": "mcp_approval_response", "id": "approval_1", "approval_request_id": "req_1", "approve": False}
    peer.send("conversation.item.added", item=item)
    peer.end(status="cancelled")
    peer.begin("resp_2")
    peer.end("resp_2")
    assert peer.take() == ["conversation.item.create"]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_server_whose_tools_cannot_be_listed_is_named(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(hosted_servers=(server(), server(label="erp")))
    peer.send("conversation.item.added", item={"id": "item_l", "type": "mcp_list_tools", "server_label": "erp"})
    assert peer.send("mcp_list_tools.failed", item_id="item_l") == []
    assert "MCP server erp" in caplog.text
    assert peer.statistics.hosted_failures == 1


def test_the_only_server_is_named_though_the_provider_does_not(caplog: pytest.LogCaptureFixture) -> None:
    Peer(hosted_servers=(server(),)).send("mcp_list_tools.failed", item_id="item_l")
    assert "MCP server crm" in caplog.text


def test_failed_call_is_told_with_server_and_code_and_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(hosted_servers=(server(),))
    peer.begin()
    error = {"type": "http_error", "code": 502, "message": f"bad {TOKEN} {HEADER}\n"}
    call = {"id": "item_c", "type": "mcp_call", "server_label": "crm", "name": "look", "arguments": '{"of":"Ann"}'}
    peer.send("response.output_item.added", response_id="resp_1", item=call)
    peer.send("response.mcp_call.failed", item_id="item_c", output_index=0)
    assert peer.send("response.output_item.done", response_id="resp_1", item=call | {"error": error}) == []
    assert "crm failed: look: http_error 502: bad *** ***" in caplog.text
    assert "Ann" not in caplog.text
    assert (peer.statistics.hosted_calls, peer.statistics.hosted_failures) == (1, 1)


def test_call_that_succeeds_is_counted_and_leaves_the_reply_to_the_provider() -> None:
    peer = Peer(hosted_servers=(server(),))
    peer.begin()
    call = {"id": "item_c", "type": "mcp_call", "server_label": "crm", "name": "look", "arguments": "{}", "output": "x"}
    peer.send("response.mcp_call.completed", item_id="item_c", output_index=0)
    peer.send("response.output_item.done", response_id="resp_1", item=call)
    peer.end(output=[call])
    assert peer.take() == []
    assert (peer.statistics.hosted_calls, peer.statistics.hosted_failures) == (1, 0)


def test_endless_items_of_servers_do_not_grow_memory() -> None:
    peer = Peer(hosted_servers=(server(),))
    for number in range(200):
        item = {"id": f"item_{number}", "type": "mcp_list_tools", "server_label": "crm"}
        peer.send("conversation.item.added", item=item)
    assert len(peer.protocol._hosted._labels) <= 64
