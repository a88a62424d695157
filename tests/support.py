"""What the tests share: where the reference material lies, and the reader of `tests/golden/`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
SHARED = Path(os.environ.get("CPM_PORT_SHARED", ROOT.parent / "shared"))

PROVENANCE_FIELDS = ("source", "command", "tools", "date", "licence", "tolerance")


def shared_dir() -> Path | None:
    """Return the reference material's folder, or None: for parametrizing over its files at collection time."""
    return SHARED if (SHARED / "README.md").is_file() else None


def load_golden(relative: str) -> dict[str, np.ndarray]:
    """Read `tests/golden/<relative>` (an .npz); refuse it where neither it nor its folder has a provenance file."""
    path = GOLDEN / relative
    sidecars = [path.with_suffix(".provenance.json"), path.parent / "provenance.json"]
    sidecar = next((s for s in sidecars if s.is_file()), None)
    assert sidecar is not None, f"{relative}: no provenance.json beside it"
    missing = [field for field in PROVENANCE_FIELDS if field not in json.loads(sidecar.read_text())]
    assert not missing, f"{sidecar.relative_to(ROOT)}: lacks {', '.join(missing)}"
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
