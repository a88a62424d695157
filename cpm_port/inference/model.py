"""A model that is ready to predict: its files read, its net on the device and made fast, and what is known of it.

Where in the flow: the first step of `run.py` and of `dataset.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cpm_port.compute.devices import checked_device, slow_bfloat16
from cpm_port.engine.modes import fast_net
from cpm_port.engine.net import PlanSource
from cpm_port.engine.precision import Precision
from cpm_port.files.digest import file_sha256
from cpm_port.graph import load_net
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.mirrored import MirroredNet
from cpm_port.predictions.result_parts import FileRecord, ModelRecord
from cpm_port.zoo import Choice, resolve

__all__ = ["Engine", "ReadyNet", "fast_choice", "ready_net"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """How a net runs.

    Attributes
    ----------
    device : str
        cpu, cuda, cuda:1, ...
    precision : {"float32", "tf32", "bf16"}
        The net's arithmetic.
    memory_bound : int or None
        Bytes that transformed weights and spectra may take, on a CPU; None: the engine's own.
    flip : bool
        Look at the mirror image too, and average (`mirrored.py`); twice the time.
    plan : {"model", "measure"} or None
        How each layer's way is chosen, on a CPU; None: by the cost model.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    memory_bound: int | None = None
    plan: PlanSource | None = None
    flip: bool = False


@dataclass(frozen=True, eq=False)
class ReadyNet:
    """A net that is ready to predict.

    Attributes
    ----------
    net : BeliefNet
    interface : NetInterface
        Its input, stages and parts.
    sigma : float or None
        Of the center map that it was trained with, box px; None: the release's, in proportion to the box.
    record : ModelRecord
        What results record of it.
    searches : bool
        Whether it looks for the person in the whole picture where no place is given: the model that ships was measured
        doing so, others were not.
    """

    net: BeliefNet
    interface: NetInterface
    sigma: float | None
    record: ModelRecord
    searches: bool


def ready_net(choice: Choice | None = None, engine: Engine | None = None) -> ReadyNet:
    """Load a model's net, make it fast, and read what the pipeline must know of it.

    Parameters
    ----------
    choice : Choice, optional
        What `cpm_port.zoo.resolve` returned; by default the default model.
    engine : Engine, optional
        By default float32 on a CPU.

    Raises
    ------
    UsageError
        The net is no pose net, or the device or its way to run is not there.
    MissingFileError, CaffeFormatError, WeightsError, UnsupportedLayerError
        As of `cpm_port.load_net`.

    Examples
    --------
    >>> ready_net().record.name
    'default'
    """
    choice = choice or resolve()
    engine = engine or Engine()
    net, record = fast_choice(choice, engine)
    sigma, searches = None, False
    if choice.entry is not None:
        sigma, searches = choice.entry.center_sigma, choice.entry.embedded
    interface = read_interface(net, choice.part_order, sigma)
    if engine.flip:
        net = MirroredNet(net, interface)
    return ReadyNet(net, interface, sigma, record, searches)


def fast_choice(choice: Choice, engine: Engine) -> tuple[BeliefNet, ModelRecord]:
    """Load a net of any kind and make it fast; return it with what results say of it. Errors as of `ready_net`."""
    device = checked_device(engine.device)
    if engine.precision == "bf16" and (known := slow_bfloat16(device)) is not None:
        _log.warning("%s", known)
    net = fast_net(
        load_net(choice.net, choice.weights, device=device, **choice.state._asdict()),
        engine.precision,
        memory_bound=engine.memory_bound,
        plan=engine.plan,
    )
    name = None if choice.entry is None else choice.entry.name
    return net, ModelRecord(_file_record(choice.net), _file_record(choice.weights), name)


def _file_record(path: Path) -> FileRecord:
    return FileRecord(path.name, file_sha256(path))
