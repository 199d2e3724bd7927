"""docs/examples: each shipped plan has a page, whose console shows what the command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.dialplan import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
REFERENCES = ("every-word",)
"""Plans that show the language, and are no example of a business."""


def test_each_shipped_plan_has_a_page() -> None:
    plans = {file.stem for file in (ROOT / "dialplans").glob("*.yaml")} - set(REFERENCES)
    assert {page.stem for page in PAGES} == plans
    assert len(plans) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_console_of_a_page_shows_what_is_printed(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    consoles = re.findall(r"```console\n\$ gateway dialplan (.*?)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert consoles
    for command, shown in consoles:
        result = CliRunner().invoke(app, shlex.split(command))
        assert (result.exit_code, result.output) == (0, shown)
