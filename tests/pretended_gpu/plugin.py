"""`pytest -p tests.pretended_gpu.plugin`: the tests marked `gpu`, on the pretended GPU.

It is loaded before anything imports torch. Tests run one after another in one process.
"""

from __future__ import annotations

from tests.pretended_gpu.build import load

_LIBRARY = load()

from tests.pretended_gpu.cuda import pretend  # noqa: E402

pretend(_LIBRARY)
