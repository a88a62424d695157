"""Several processes of one command, on one machine or several, as `torchrun` starts them, that end as one.

Flow: a command -> its processes, which `compute.devices.joined_world` joins -> **one exit code**. Signals go to every
process once. A process that dies on its own is named; the others, which notice it by themselves on a CPU, get a while
to leave a snapshot, and are ended then: nothing hangs.

On several machines each one's part is started there, and all meet at a port of the first.

Differs from torchrun: the exit code is the command's own (torchrun's is 1 after a signal or an error, with a
traceback), a stop is waited for as long as it takes, and nothing is started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

__all__ = ["Machines", "run_processes"]

FAILED = 2
_LOOK = 0.1  # seconds between looks at the processes
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Machines:
    """Which of how many machines this is, and where they meet.

    Attributes
    ----------
    count, number : int
        Machines count from 0; all run the same number of processes.
    address : str
        The first machine's name or IP address.
    port : int
        A port of it that is free; 0, where there is but one machine: any.
    """

    count: int = 1
    number: int = 0
    address: str = "127.0.0.1"
    port: int = 0


ONE_MACHINE = Machines()


def run_processes(
    command: Sequence[str],
    count: int,
    *,
    gpus: Sequence[int] = (),
    machines: Machines = ONE_MACHINE,
    grace: float = 60.0,
) -> int:
    """Run a command in `count` processes at once and wait for all of them.

    Parameters
    ----------
    command : sequence of str
    count : int
        1 or more, on this machine.
    gpus : sequence of int
        The GPUs' numbers, one for each process; without, all that are here may be used.
    machines : Machines
        With several, the command's other processes are started there, by a call with another `number`.
    grace : float
        Seconds that the others have when one has died, before they are ended.

    Returns
    -------
    int
        2 where a process returned 2 or was ended by a signal, else the largest code.
    """
    port = machines.port
    if machines.number == 0:
        store = TCPStore(machines.address, port, is_master=True, wait_for_workers=False)
        port = store.port
    shared = {
        "MASTER_ADDR": machines.address,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count * machines.count),
        "LOCAL_WORLD_SIZE": str(count),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the first machine's, which outlives any of the processes
        "TORCHELASTIC_RESTART_COUNT": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
    }
    if gpus:
        shared["CUDA_VISIBLE_DEVICES"] = _visible(gpus)
    first = count * machines.number
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(first + number), "LOCAL_RANK": str(number)},
            start_new_session=True,
        )
        for number in range(count)
    ]

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        return _wait(children, first, count * machines.count, grace)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _visible(gpus: Sequence[int]) -> str:
    """Return what CUDA_VISIBLE_DEVICES is to be; where it is set, the numbers count among those that it names."""
    here = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = here.split(",") if here else None
    return ",".join(str(number) if names is None else names[number] for number in gpus)


def _wait(children: Sequence[subprocess.Popen[Any]], first: int, world: int, grace: float) -> int:
    """Wait for all; end the others some time after one has failed."""
    died: float | None = None
    told = False
    while True:
        codes = [child.poll() for child in children]
        for rank, code in enumerate(codes, start=first):
            if code is not None and code < 0 and not told:
                told = True
                name = signal.Signals(-code).name
                print(f"process {rank} of {world} was ended by {name}", file=sys.stderr, flush=True)
        if None not in codes:
            ended = [code for code in codes if code is not None]
            return FAILED if any(code < 0 or code == FAILED for code in ended) else max(ended)
        if died is None and any(code not in (None, 0) for code in codes):
            died = time.monotonic()
        if died is not None and time.monotonic() - died > grace:
            for child in children:
                if child.poll() is None:
                    child.kill()
        time.sleep(_LOOK)
