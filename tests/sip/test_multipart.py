from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.message import Headers, Request, Uri
from gateway.sip.multipart import MAXIMUM_DEPTH, MAXIMUM_PARTS, body_parts, find_body
from tests.support.step_counter import count_lines

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"


def message(content_type: str | None, body: bytes) -> Request:
    headers = Headers() if content_type is None else Headers([("Content-Type", content_type)])
    return Request(method="INVITE", uri=Uri("sip", None, None, "h"), headers=headers, body=body)


def multipart(*parts: bytes, boundary: bytes = b"b1") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(content_type: str, content: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\n\r\n".encode() + content


def test_a_simple_body_is_found_by_its_type() -> None:
    assert find_body(message("application/SDP;x=y", SDP), "application/sdp") == SDP
    assert find_body(message("text/plain", SDP), "application/sdp") is None
    assert find_body(message("application/sdp", b""), "application/sdp") is None


def test_a_body_without_a_type_is_text() -> None:
    assert body_parts(message(None, b"x"))[0].content_type == "text/plain"


def test_the_description_is_found_among_other_parts() -> None:
    isup = part("application/ISUP;version=itu-t92+", b"\x01\0\r\n--b\xff")
    body = multipart(isup, part("application/sdp\r\nContent-Disposition: session", SDP))
    found = body_parts(message('multipart/mixed; boundary="b1"', body))
    assert [(piece.content_type, piece.content) for piece in found] == [
        ("application/isup", b"\x01\0\r\n--b\xff"),
        ("application/sdp", SDP),
    ]
    assert found[1].headers.get("content-disposition") == "session"


def test_text_before_and_behind_the_parts_is_ignored() -> None:
    body = b"preamble\r\n" + multipart(part("application/sdp", SDP)) + b"epilogue\r\n--b1\r\n"
    assert find_body(message("multipart/mixed;boundary=b1", body), "application/sdp") == SDP


def test_parts_nest() -> None:
    inner = multipart(part("application/sdp", SDP), boundary=b"inner")
    body = multipart(b"\r\nplain", part("multipart/alternative;boundary=inner", inner))
    found = body_parts(message("multipart/mixed;boundary=b1", body))
    assert [piece.content_type for piece in found] == ["text/plain", "application/sdp"]


def test_headers_of_a_part_may_be_folded_and_compact() -> None:
    body = multipart(b"c:\r\n application/sdp;\r\n\tx=y\r\nnonsense\r\n\r\n" + SDP)
    assert find_body(message("multipart/mixed;boundary=b1", body), "application/sdp") == SDP


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed", multipart(SDP)),
        ("multipart/mixed;boundary=", multipart(SDP)),
        (f"multipart/mixed;boundary={'b' * 71}", multipart(SDP)),
        ("multipart/mixed;boundary=b1", b""),
        ("multipart/mixed;boundary=b1", b"--b1\r\n\r\nno end"),
        ("multipart/mixed;boundary=b1", b"--b1 x\r\n\r\nx\r\n--b1--"),
        ("multipart/mixed;boundary=b1", b"--b1\r\nno empty line\r\n--b1--"),
        ("multipart/mixed;boundary=b1", b"--b1\r\nBad Name: x\r\n\r\nx\r\n--b1--"),
        ("multipart/mixed;boundary=b1", multipart(*[part("text/plain", b"x")] * 17)),
        ("multipart/mixed;boundary=b1", multipart(*[part("text/plain", b"x")] * 1000)),
    ],
)
def test_a_broken_or_boundless_body_is_refused(content_type: str, body: bytes) -> None:
    request = message(content_type, body or b"x")
    with pytest.raises(MessageError):
        body_parts(request)


def test_sixteen_parts_and_four_levels_are_the_limit() -> None:
    assert len(body_parts(message("multipart/mixed;boundary=b1", multipart(*[part("text/plain", b"x")] * 16)))) == 16
    body, content_type = SDP, "application/sdp"
    for level in range(4):
        body = multipart(part(content_type, body), boundary=f"b{level}".encode())
        content_type = f"multipart/mixed;boundary=b{level}"
    assert find_body(message(content_type, body), "application/sdp") == SDP
    deeper = multipart(part(content_type, body), boundary=b"top")
    with pytest.raises(MessageError, match="nested deeper"):
        body_parts(message("multipart/mixed;boundary=top", deeper))


@pytest.mark.parametrize("piece", [b"\r\n--b1", b"\r\n--b1\r\n", b"\r\n--b1--", b"-", b"\r\n--b1\r\n\r\n"])
def test_work_grows_no_faster_than_the_body(piece: bytes) -> None:
    small, large = (
        count_lines(lambda body=piece * size: body_parts(message("multipart/mixed;boundary=b1", body)), MessageError)
        for size in (500, 2_000)
    )
    assert large < 4.5 * small + 100


leaves = st.tuples(
    st.sampled_from(["application/sdp", "application/isup", "text/plain"]),
    # A part may hold anything but a delimiter.
    st.binary(max_size=40).filter(lambda content: b"--" not in content),
)
trees = st.recursive(leaves, lambda parts: st.lists(parts, min_size=1, max_size=4), max_leaves=MAXIMUM_PARTS)


def written(tree: object, depth: int = 0) -> tuple[str, bytes]:
    """Content-Type and content of a part; lists are multiparts, each depth has its boundary."""
    if isinstance(tree, tuple):
        return tree
    parts = [part(*written(child, depth + 1)) for child in tree]  # type: ignore[attr-defined]
    return f"multipart/mixed;boundary=n{depth}", multipart(*parts, boundary=f"n{depth}".encode())


def leaves_of(tree: object) -> list[tuple[str, bytes]]:
    return [tree] if isinstance(tree, tuple) else [leaf for child in tree for leaf in leaves_of(child)]  # type: ignore[attr-defined]


def depth_of(tree: object) -> int:
    return 0 if isinstance(tree, tuple) else 1 + max(map(depth_of, tree))  # type: ignore[call-overload]


@settings(deadline=None)
@given(trees)
def test_any_tree_of_parts_within_the_bounds_is_read_as_it_was_written(tree: object) -> None:
    whole = message(*written(tree))
    if depth_of(tree) > MAXIMUM_DEPTH:
        with pytest.raises(MessageError, match="nested deeper"):
            body_parts(whole)
        return
    expected = [] if not whole.body else leaves_of(tree)
    assert [(piece.content_type, piece.content) for piece in body_parts(whole)] == expected


@settings(deadline=None)
@given(st.text(max_size=60).filter(lambda text: not set(text) & set("\r\n")), st.binary(max_size=200))
def test_any_body_is_divided_or_refused(parameters: str, body: bytes) -> None:
    try:
        parts = body_parts(message(f"multipart/mixed;boundary=b{parameters}", body))
    except MessageError:
        return
    assert len(parts) <= MAXIMUM_PARTS
