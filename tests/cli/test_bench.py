"""`cpm-port bench` finds benches, prints their tables, writes JSON and judges targets. Oracle: a bench made up here."""

import argparse
import json
import types

import pytest

from cpm_port.bench import _records, _report
from cpm_port.cli import bench, main

RESULT = {
    "parity": "2 arrays",
    "medians": {"ours": 0.010, "theirs": 0.040},
    "spread": {"ours": [0.009, 0.011], "theirs": [0.03, 0.05]},
    "ratios": {"theirs": 4.0},
    "targets": {"theirs": 2.0, "not installed": 8.0},
    "repeats": 3,
}


@pytest.fixture
def made_up(monkeypatch):
    """Replace the folder of benches by one bench, and return its result to change."""
    result = json.loads(json.dumps(RESULT))
    module = types.SimpleNamespace(
        configure=lambda parser: parser.add_argument("--size", type=int, default=1),
        run=lambda args: {**result, "size": args.size},
    )
    monkeypatch.setattr(bench, "_names", lambda: ["made_up"])
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: module)
    return result


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    return bench.run(parser.parse_args(words))


def test_a_bench_prints_a_table_and_writes_json(made_up, tmp_path, capsys):
    target = tmp_path / "out.json"
    assert run("made_up", "--size", "5", "--json", str(target)) == 0
    printed = capsys.readouterr().out
    assert "parity: 2 arrays" in printed
    assert "ours                                  10.00 ms   (9.00 to 11.00)" in printed
    assert "theirs                                4.000   at least 2: met" in printed
    written = json.loads(target.read_text())
    assert written["results"]["made_up"]["size"] == 5
    assert {"processor", "cores", "threads", "versions"} <= set(written["machine"])


def test_tables_in_a_part_are_printed_row_by_row(made_up, capsys):
    made_up["part"] = {"seconds": 1.5, "table": {"row": {"a": 1, "b": 0.25}}}
    assert run("made_up") == 0
    assert "  part:\n    seconds: 1.5\n    table:\n      row: a 1, b 0.25\n" in capsys.readouterr().out


def test_without_a_name_all_benches_run(made_up, tmp_path):
    assert run("--json", str(tmp_path / "out.json")) == 0
    assert list(json.loads((tmp_path / "out.json").read_text())["results"]) == ["made_up"]


def test_a_missed_target_is_exit_code_one(made_up, capsys):
    made_up["ratios"]["theirs"] = 1.9
    assert run("made_up") == 1
    assert "at least 2: missed" in capsys.readouterr().out


def test_what_a_bench_itself_calls_missed_is_exit_code_one(made_up, capsys):
    made_up["missed"] = ["example: 200 per second, expected at least 300"]
    assert run("made_up") == 1
    assert "missed: example: 200 per second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["video", "--frames", "0"], "bench video: --frames 0: expected 1 or more"),
        (["net", "--repeats", "0"], "bench net: --repeats 0: expected 1 or more"),
        (["net", "--memory-bound", "-1"], "bench net: --memory-bound -1: expected 0 or more"),
        (["crossing", "--size", "640", "0"], "bench crossing: --size 0: expected 1 or more"),
        (["crossing", "--rate", "nan"], "bench crossing: --rate nan: expected a number above 0"),
        (["score", "--json", "."], "--json .: is a folder; expected a file"),
    ],
)
def test_a_bench_that_would_measure_nothing_or_keep_nothing_is_refused_before_it_runs(
    words, message, monkeypatch, capsys
):
    monkeypatch.setattr(f"cpm_port.bench.{words[0]}.run", None)
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_recorded_where_there_is_no_checkout(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("cpm_port.files.checkout.resource_dir", lambda name: tmp_path / name)
    monkeypatch.setattr("cpm_port.bench.score.run", None)
    assert main(["bench", "score", "--record"]) == 2
    assert "checkout" in capsys.readouterr().err


def test_an_unknown_bench_is_bad_input(capsys):
    assert main(["bench", "nothing"]) == 2
    assert "no bench 'nothing'; there are " in capsys.readouterr().err


def test_the_reading_bench_is_found():
    assert "read" in bench._names()


@pytest.mark.parametrize("words", [["--record", "made_up"], ["made_up", "--record"], ["--record"]])
def test_results_are_recorded_one_file_a_bench(made_up, tmp_path, monkeypatch, words):
    monkeypatch.setattr(_records, "records_folder", lambda: tmp_path / "benchmarks")
    assert run(*words) == 0
    written = json.loads((tmp_path / "benchmarks/made_up.json").read_text())
    assert written["results"]["made_up"]["medians"] == RESULT["medians"]
    assert written["command"].startswith("cpm-port bench")
    assert written["date"].count("-") == 2


def test_a_gpus_record_does_not_replace_a_cpus(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(_records, "records_folder", lambda: tmp_path / "benchmarks")
    for device in ("CPU", "NVIDIA H200"):
        made_up["device"] = device
        assert run("made_up", "--record") == 0
    for path, device in (("made_up.json", "CPU"), ("gpu/nvidia-h200/made_up.json", "NVIDIA H200")):
        assert json.loads((tmp_path / "benchmarks" / path).read_text())["results"]["made_up"]["device"] == device


def test_the_report_is_written_from_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_report, "write_report", lambda: [tmp_path / "speed.md"])
    assert run("report") == 0
    assert "speed.md" in capsys.readouterr().out
