"""One embedded server as a process of its own, as a gateway starts it, for all tests that speak to a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.embedded_process import embedded_process


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Address of a running server that ends with its standard input."""
    with embedded_process() as url:
        yield url
