"""Run the tutorial and store what its cells give: `python docs/notebook.py`, a minute of a core. No Jupyter is needed.

A cell's last expression is shown where it is a Pillow image or has a value, and so is what it prints. After a change to
the default model, run it again; a test runs the cells.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

from PIL import Image

TUTORIAL = Path(__file__).parent / "tutorial.ipynb"
QUALITY = 85


def main() -> None:
    """Run every cell, and write the notebook with what they gave."""
    content = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        run(content, Path(folder))
    TUTORIAL.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(content: dict[str, Any], folder: Path) -> None:
    """Run a notebook's cells in a folder, in one namespace, and put their outputs in their places."""
    scope: dict[str, Any] = {"__name__": "tutorial"}
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    with chdir(folder):
        for number, cell in enumerate(cells, 1):
            cell["execution_count"] = number
            cell["outputs"] = _outputs("".join(cell["source"]), scope, number)


def _outputs(source: str, scope: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), scope)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), scope)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        data = _shown(value)
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    if not isinstance(value, Image.Image):
        return {"text/plain": repr(value).splitlines(True)}
    file = io.BytesIO()
    value.save(file, "JPEG", quality=QUALITY, subsampling=0)  # as PNG, drawn pictures take ten times as much
    return {"image/jpeg": base64.b64encode(file.getvalue()).decode(), "text/plain": [f"<picture {value.size}>"]}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
