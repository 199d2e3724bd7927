from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOOKS = "from tests.support.required import pytest_make_collect_report, pytest_runtest_makereport\n"
TESTS = {
    "in_the_test": "def test_one(): pytest.skip('no wire here')",
    "in_a_fixture": "@pytest.fixture\ndef wire(): pytest.skip('no wire here')\ndef test_one(wire): pass",
    "by_a_mark": "@pytest.mark.skip(reason='no wire here')\ndef test_one(): pass",
    "of_a_module": "pytest.importorskip('no_such_module', reason='no wire here')\ndef test_one(): pass",
    "long": "@pytest.mark.long\n@pytest.mark.skip(reason='no wire here')\ndef test_one(): pass",
    "expected": "@pytest.mark.xfail\ndef test_one(): raise ValueError",
}


@pytest.mark.parametrize(
    ("name", "required", "end"),
    [
        *((name, "1", "failed") for name in ("in_the_test", "in_a_fixture", "by_a_mark", "of_a_module")),
        *((name, "", "skipped") for name in ("in_the_test", "in_a_fixture", "by_a_mark", "of_a_module")),
        ("long", "1", "skipped"),
        ("expected", "1", "xfailed"),
    ],
)
def test_a_skip_fails_where_everything_is_required(tmp_path: Path, name: str, required: str, end: str) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\n")
    (tmp_path / "test_it.py").write_text(f"import pytest\n{TESTS[name]}\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-c", "pytest.ini", "."],
        cwd=tmp_path,
        env={
            **os.environ,
            "REQUIRE_ASTERISK": required,
            "PYTHONPATH": str(REPOSITORY),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    last = run.stdout.splitlines()[-1]
    is_failure = end == "failed"
    assert (run.returncode in (1, 2), "1 error" in last or "1 failed" in last) == (is_failure, is_failure), run.stdout
    assert is_failure or f"1 {end}" in last
    assert not is_failure or "no wire here (and REQUIRE_ASTERISK=1)" in run.stdout
