"""The media bench: both forms of its report, and the one ratio that every machine must reach."""

import json

import pytest

from gateway.simulate import bench_media

ROW = bench_media.BenchRow(legs=1, ours_ns=100.0, baseline_ns=250.0)


def test_the_table_explains_every_column():
    text = bench_media.MediaBench(transcode=(ROW,), engine=(ROW,), srtp=(ROW,)).as_text()
    legend = text[text.index("all: CPU nanoseconds") :]
    for column in ("legs", "ours", "audioop", "alone", "engine", "ratio", "srtp", "transcode"):
        assert column in legend
    assert "2.5x" in text


@pytest.fixture(scope="module")
def result():
    return bench_media.measure(legs=(50, 100))


@pytest.mark.heavy
def test_a_hundred_legs_transcode_at_least_three_times_cheaper_than_audioop(result):
    assert result.transcode[1].ratio >= 3, result.as_text()
    assert result.engine[1].ratio >= 3, result.as_text()
    assert result.srtp[1].ratio >= 2, result.as_text()


@pytest.mark.heavy
def test_both_reports_tell_what_was_measured(result, monkeypatch, capsys):
    monkeypatch.setattr(bench_media, "measure", lambda legs: result)
    bench_media.run(legs=(50, 100))
    assert capsys.readouterr().out == result.as_text() + "\n"
    bench_media.run(json=True, legs=(50, 100))
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "media"
    assert [row["legs"] for row in told["transcode"]] == [50, 100]
    assert told["engine"][1]["ours_ns"] == result.engine[1].ours_ns
    assert set(told["engine"][0]) == {"legs", "ours_ns", "baseline_ns", "ratio"}
