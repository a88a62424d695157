"""`python -m tests.pretended_gpu COMMANDS`: cpm-port commands in a process of their own, on a GPU, real or pretended.

COMMANDS is JSON: a list of [environment, words]. Behind what they print, the last line tells, of pretended GPUs, which
ones memory was asked of.
"""

from __future__ import annotations

import json
import os
import sys

from tests.pretended_gpu.build import why_absent

if pretends := why_absent() is None:
    import tests.pretended_gpu.plugin  # noqa: F401

from cpm_port.cli import main

for environment, words in json.loads(sys.argv[1]):
    os.environ.update(environment)
    if code := main(words):
        sys.exit(code)
if pretends:
    from tests.pretended_gpu.cuda import DEVICES
    from tests.pretended_gpu.runtime import RUNTIME

    print(json.dumps([number for number in range(DEVICES) if RUNTIME.library.pretended_opened() >> number & 1]))
