r"""Measure the default model and write its record, the numbers in its card, and two pictures.

    python -m cpm_port.scorecard --data ../shared

The folder holds the data sets: `datasets/lsp` and `datasets/lspet_dataset`. To be run once after `deploy.prototxt` or
`default.caffemodel` is replaced in a checkout, for LSP's test people are not for choosing models by; about an hour on
two cores.
Everything is measured before anything is written: `reference_results/default_model.json`, `MODEL_CARD.md` beside the
weights, and in `docs/pictures` `default_model_curve.svg` and `default_model_failures.png` (drawn people only:
photographs of data sets stay where they are).
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from cpm_port.annotations.samples import Sample
from cpm_port.annotations.scored import find_images, find_labels, read_scored
from cpm_port.caffe import read_net
from cpm_port.engine.modes import fast_net
from cpm_port.errors import CpmPortError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.checkout import checkout
from cpm_port.files.digest import file_sha256
from cpm_port.files.json_text import read_json
from cpm_port.graph import load_net
from cpm_port.inference.interface import BeliefNet, read_interface
from cpm_port.report.inspect import inspect_net
from cpm_port.report.plots import cases, curves
from cpm_port.scorecard import measuring
from cpm_port.scorecard.card import around_numbers, numbers
from cpm_port.scorecard.shapes import with_costs
from cpm_port.zoo import ModelEntry, model_named

__all__ = ["describe_files", "main", "measure_all"]

LSP_FOLDER, LSPET_FOLDER = "datasets/lsp", "datasets/lspet_dataset"
SHOWN, COLOURS = 12, 128  # drawn people in the picture of failures, and its colours
SEARCHED = 10  # of LSP's people, one in so many is also looked for in the whole picture


def main(argv: list[str] | None = None) -> int:
    """Measure and write; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m cpm_port.scorecard")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="ROOT", help="folder with datasets/lsp and datasets/lspet_dataset"
    )
    args = parser.parse_args(argv)
    try:
        entry = model_named("default")
        place = checkout() / "reference_results" / "default_model.json"
        card = entry.net.with_name("MODEL_CARD.md")
        before = read_json(place)
        head, tail = around_numbers(card.read_text(encoding="utf-8"))
        record, pictures = measure_all(entry, args.data, before)
        files = {
            place: _json(record).encode(),
            card: (head + numbers(record) + tail).encode(),
            **{checkout() / "docs" / "pictures" / name: picture for name, picture in pictures.items()},
        }
        for path, content in files.items():
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            print(f"written: {path}")
    except (CpmPortError, OSError) as error:
        print(f"python -m cpm_port.scorecard: {error}", file=sys.stderr)
        return 2
    for score in record["scores"]:
        total = score["values"]["total"]
        print(f"{score['dataset']}, {score['split']}: {total:.2f} %, {score['hits']} of {score['count']} joints")
    return 0


def measure_all(entry: ModelEntry, data: Path, before: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the model's record and its pictures by file name.

    Parameters
    ----------
    entry : ModelEntry
        The embedded model; its weights' recorded SHA-256 is not asked for, since this is what records it.
    data : Path
        Folder with the data sets, labels and photographs.
    before : dict
        The record as it was; what people wrote is taken from it.

    Raises
    ------
    CpmPortError
        Its leaves: files that are missing or not what they should be.
    """
    sigma = entry.center_sigma
    lsp, held_out = _people("LSP", data / LSP_FOLDER), _people("LSPET", data / LSPET_FOLDER)
    net = fast_net(load_net(entry.net, entry.net.with_name(entry.file_name)))

    candidates = with_costs(before["candidates"])
    drawn, worst = measuring.drawn_people(net, sigma, SHOWN)
    found = measuring.find_everywhere(net, lsp, sigma, flip=True)
    main_score = measuring.measured(found.joints, lsp, measuring.LSP)
    found_held_out = measuring.find_everywhere(net, held_out, sigma)
    other_score = measuring.measured(found_held_out.joints, held_out, measuring.HELD_OUT)
    some = lsp[::SEARCHED]
    searched = measuring.measured(measuring.whole_pictures(net, some, sigma), some, measuring.LSP)

    record = {
        "title": before["title"],
        "date": datetime.now(UTC).date().isoformat(),
        **describe_files(entry, net, before["net"]["command"]),
        "scores": [
            measuring.score_section(
                main_score,
                "LSP",
                "test (images 1001 to 2000)",
                "the release's pyramid of seven scales, center and scale by LSP's rule from the image's size",
                f"cpm-port evaluate --protocol {measuring.LSP} --data ../shared/{LSP_FOLDER} --bootstrap 1",
            )
            | {"data": LSP_FOLDER, "hits_by_person": measuring.hits_by_person(main_score)},
            measuring.score_section(
                other_score,
                "LSPET",
                "images 8501 to 9000, held out",
                "the release's pyramid of seven scales, center and scale from the labels' box; labelled joints of "
                "people whose torso is labelled; the set's own labels, uncleaned",
                f"cpm-port evaluate --protocol {measuring.HELD_OUT} --data ../shared/{LSPET_FOLDER} --bootstrap 1",
            )
            | {"data": LSPET_FOLDER, "hits_by_person": measuring.hits_by_person(other_score)},
        ],
        "ways": measuring.ways_section(found, lsp, measuring.LSP),
        "stages": measuring.stage_section(found, lsp, measuring.LSP),
        "by_pose": measuring.by_pose(main_score, lsp),
        "left_and_right": measuring.left_and_right(found.joints, lsp, measuring.LSP)
        | {"people": measuring.exchanged_people(found.joints, lsp, measuring.LSP)},
        "searched": {
            "what": f"one in {SEARCHED} of LSP's test people, looked for in the whole picture as cpm-port predict does",
            "people": len(some),
            **measuring.total_section(searched),
        },
        "drawn_people": drawn,
        "training": before["training"],
        "limits": before["limits"],
        "candidates": candidates,
    }
    lines = {"LSP, test": main_score.curve(), "LSPET, held out": other_score.curve()}
    return record, {
        "default_model_curve.svg": curves("the default model: detection rate", "error / torso", lines),
        "default_model_failures.png": _small(cases("the drawn people whom the default model finds worst", worst)),
    }


def _people(dataset: str, folder: Path) -> list[Sample]:
    """Return a data set's scored people with their photographs."""
    return read_scored(dataset, find_labels(dataset, folder, "person"), images=find_images(folder))


def describe_files(entry: ModelEntry, net: BeliefNet, command: str) -> dict[str, Any]:
    """Return the record's `weights` and `net`: the shipped files and what the net is."""
    weights = entry.net.with_name(entry.file_name)
    facts = inspect_net(read_net(entry.net))
    return {
        "weights": _file(weights) | {"bytes": weights.stat().st_size},
        "net": {
            **_file(entry.net),
            "command": command,
            "stages": len(read_interface(net).stages),
            "parts": len(entry.part_order),
            "box": entry.box[0],
            "parameters": facts["parameters"],
            "flops_per_forward": facts["flops"],
        },
    }


def _json(record: Mapping[str, Any]) -> str:
    """Return the record as JSON, a list of numbers on one line."""
    text = json.dumps(record, indent=2, allow_nan=False)
    return re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _small(picture: bytes) -> bytes:
    """Return a PNG picture in few colours."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(stream, "png", optimize=True)
    return stream.getvalue()


def _file(path: Path) -> dict[str, Any]:
    return {"file": path.relative_to(checkout()).as_posix(), "sha256": file_sha256(path)}


if __name__ == "__main__":
    sys.exit(main())
