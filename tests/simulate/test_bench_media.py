"""The media bench: both forms of its report, and the one ratio that every machine must reach."""

import json

import pytest

from gateway.simulate import bench_media

pytestmark = pytest.mark.heavy


def test_a_hundred_legs_transcode_at_least_three_times_cheaper_than_audioop(capsys):
    result = bench_media.run(legs=(100,))
    assert result.transcode[0].ratio >= 3, result.as_text()
    assert result.engine[0].ratio >= 3, result.as_text()
    assert result.srtp[0].ratio >= 2, result.as_text()
    assert capsys.readouterr().out == result.as_text() + "\n"


def test_the_json_report_is_one_document(capsys):
    result = bench_media.run(json=True, legs=(1, 2))
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "media"
    assert [row["legs"] for row in told["transcode"]] == [1, 2]
    assert told["engine"][1]["ours_ns"] == result.engine[1].ours_ns
    assert set(told["engine"][0]) == {"legs", "ours_ns", "baseline_ns", "ratio"}
