"""Generator of Caffe files: an `Architecture` to the text of its deploy net, train net and solver.

The deploy nets of the five released architectures are structurally equal to the release's own files (layers,
parameters, connections, learning-rate multipliers; tests/models/test_prototxt.py). Train nets put the CPM fork's data
layer in front and a Euclidean loss behind every stage:

- `label` holds two sets of maps, the person's alone first, then everybody's. Stage 1, which cannot tell people apart,
  is taught with the second, all later stages with the first.
- Without a center map (`person`) the fork's data layer has no labels to offer: that net reads `image` and `label`
  from HDF5.

The augmentation's values are the release's (target_dist 41/35 at a box of 368, scale 0.7 to 1.3, rotation up to 40
degrees). A person, and with it the center map, shrinks along with a smaller box; a joint's peak keeps its 7 px, which a
stride of 8 could not show any narrower. The solver's momentum, decay and gamma are those of the reference training run;
its rate and lengths are ours. No dropout layers, as in that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cpm_port import release
from cpm_port.caffe import message_class
from cpm_port.caffe.text import format_fields
from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.models.architectures import ARCHITECTURES, Architecture
from cpm_port.models.residual import residual_stages
from cpm_port.models.writer import NetWriter

__all__ = [
    "SolverSettings",
    "TrainingData",
    "augmentation_fields",
    "deploy_text",
    "solver_text",
    "train_text",
    "write_files",
]

_MPII_ORDER = (14, 28)  # numbers of parts that the data layer makes from records of 16 joints


_FINE_TUNING_CLIP = 100.0
"""Longest gradient when training starts from a net for other parts.

Losses are sums over the maps, so gradients grow with the box: from the model that ships, at a box of 184, they begin at
2,300; at the released rate, and up to 8 times it (lr_mult), the third step is too long already. With 100, a first step
moves the loss by a tenth of itself.
"""


@dataclass(frozen=True)
class TrainingData:
    """What the train net's data layer reads, and how it augments.

    Attributes
    ----------
    source : str
        Path of the LMDB (`person`: of a text file that lists HDF5 files), as the solver will find it.
    batch_size : int
        Samples per forward pass.
    target_dist : float or None
        Size of a person after scaling, in units of 200 box pixels; None: 1.171 at a box of 368, in proportion
        elsewhere.
    scale_min, scale_max : float
        Range of the random scale factor.
    max_rotate_degree : float
        Rotations are drawn from plus or minus this.
    center_perterb_max : int
        Shifts of the box, per axis, are drawn from plus or minus this many px.
    sigma_center : float or None
        Of the center map, box px; None: 21 at a box of 368, in proportion elsewhere.
    flip_prob : float
        How often an example is mirrored.

    Examples
    --------
    >>> from cpm_port.models import TrainingData, architecture, train_text
    >>> "batch_size: 4" in train_text(architecture("mpi"), TrainingData("lmdb/train", batch_size=4))
    True
    """

    source: str = "lmdb"
    batch_size: int = 8
    target_dist: float | None = None
    scale_min: float = release.TRAIN_SCALES[0]
    scale_max: float = release.TRAIN_SCALES[1]
    max_rotate_degree: float = release.TRAIN_ROTATION
    center_perterb_max: int = 0
    sigma_center: float | None = None
    flip_prob: float = 0.5


@dataclass(frozen=True)
class SolverSettings:
    """The solver file's values; `net` and `snapshot_prefix` are filled in by `write_files`.

    Attributes
    ----------
    clip_gradients : float or None
        Longest gradient, over all parameters; None: `write_files` chooses, for nets of other parts than the released.

    Examples
    --------
    >>> from cpm_port.models import SolverSettings, solver_text
    >>> "max_iter: 1000" in solver_text("net.prototxt", "snapshots/net", SolverSettings(max_iter=1000))
    True
    """

    base_lr: float = 8e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    gamma: float = 0.333
    stepsize: int = 120_000
    max_iter: int = 600_000
    display: int = 20
    snapshot: int = 5_000
    clip_gradients: float | None = None


def deploy_text(net: Architecture) -> str:
    """Return the deploy prototxt: the declared input, and every stage to its belief maps.

    Examples
    --------
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = parse_net(deploy_text(architecture("mpi")))
    >>> net.inputs, net.outputs
    ({'data': (1, 4, 368, 368)}, ('Mconv5_stage6',))
    """
    writer = NetWriter(net)
    dims = (1, net.channels, *net.box)
    writer.fields += [
        ("name", _stem(net)),
        ("input", net.input_name),
        ("input_shape", [("dim", dim) for dim in dims]),
    ]
    _body(writer)
    return writer.text(f"# {net.summary}. The deploy net, written by `cpm-port prototxt`.")


def train_text(net: Architecture, data: TrainingData | None = None) -> str:
    """Return the train prototxt: data layer, stages, one Euclidean loss per stage.

    Raises
    ------
    UsageError
        A batch below 1 or an empty scale range.

    Examples
    --------
    >>> from cpm_port.models import architecture, train_text
    >>> train_text(architecture("mpi")).count("EuclideanLoss")  # one for each stage
    6
    """
    data = data or TrainingData()
    if data.batch_size < 1:
        raise UsageError(f"batch size is {data.batch_size}; expected 1 or more")
    if not 0 < data.scale_min <= data.scale_max:
        raise UsageError(f"scales are {data.scale_min} to {data.scale_max}; expected 0 < minimum <= maximum")
    writer = NetWriter(net)
    writer.fields.append(("name", f"{_stem(net)}_train"))
    if net.center_map:
        settings = [("source", data.source), ("batch_size", data.batch_size), ("backend", "LMDB")]
        blocks = (("transform_param", augmentation_fields(net.box, net.parts, data)), ("cpmdata_param", settings))
        writer.layer("data", "CPMData", [], ["data", "label"], *blocks)
        writer.slice("label_lower", "label", ["label_lower", "label_1st_lower"], net.maps)
        labels = ["label_1st_lower"] + ["label_lower"] * (net.stages - 1)
    else:
        block = ("hdf5_data_param", [("source", data.source), ("batch_size", data.batch_size)])
        writer.layer("data", "HDF5Data", [], [net.input_name, "label"], block)
        labels = ["label"] * net.stages
    _body(writer, trained=True)
    if net.center_map and net.stages == 1:
        writer.layer("no_later_stage", "Silence", ["label_lower"], [])
    for stage, (beliefs, label) in enumerate(zip(net.outputs, labels, strict=True), start=1):
        writer.layer(f"loss_stage{stage}", "EuclideanLoss", [beliefs, label], [f"loss_stage{stage}"])
    return writer.text(f"# {net.summary}. The train net, written by `cpm-port prototxt`.")


def augmentation_fields(
    box: tuple[int, int], parts: int, data: TrainingData, *, stride: int = release.STRIDE, own_order: bool = False
) -> list[tuple[str, Any]]:
    """Return the fields of a CPM data layer's `transform_param`.

    Parameters
    ----------
    box : (int, int)
        Height and width.
    parts : int
    data : TrainingData
    stride : int
        Box px per cell of the maps.
    own_order : bool
        Records hold these parts in this order: 14 and 28 are not made from MPII's 16.
    """
    height, width = box
    size = data.target_dist
    if size is None:
        size = round(release.TRAIN_TARGET_DIST * height / release.BOX_SIZE, 4)
    fields: list[tuple[str, Any]] = [
        ("stride", stride),
        ("crop_size_x", width),
        ("crop_size_y", height),
        ("target_dist", float(size)),
        ("scale_prob", 1),
        ("scale_min", float(data.scale_min)),
        ("scale_max", float(data.scale_max)),
        ("max_rotate_degree", float(data.max_rotate_degree)),
        ("center_perterb_max", data.center_perterb_max),
        ("do_clahe", False),
    ]
    sigma = round(release.center_sigma(height), 4) if data.sigma_center is None else data.sigma_center
    if sigma != release.CENTER_SIGMA:
        fields += [("sigma_center", sigma)]
    if data.flip_prob != TrainingData.flip_prob:
        fields += [("flip_prob", float(data.flip_prob))]
    if parts != 14:
        fields += [("num_parts", parts)]
    if parts not in _MPII_ORDER or own_order:
        fields += [("np_in_lmdb", parts)]
    if own_order:
        fields += [("transform_body_joint", False)]
    return fields


def solver_text(net_path: str, snapshot_prefix: str, settings: SolverSettings | None = None) -> str:
    """Return the solver prototxt that trains the net at `net_path` and snapshots to `snapshot_prefix`.

    Examples
    --------
    >>> from cpm_port.models import solver_text
    >>> "train.prototxt" in solver_text("train.prototxt", "snapshots/mpi")
    True
    """
    s = settings or SolverSettings()
    fields: list[tuple[str, Any]] = [
        ("net", net_path),
        ("type", "SGD"),
        ("base_lr", s.base_lr),
        ("momentum", s.momentum),
        ("weight_decay", s.weight_decay),
        ("lr_policy", "step"),
        ("gamma", s.gamma),
        ("stepsize", s.stepsize),
        ("max_iter", s.max_iter),
        ("display", s.display),
        ("snapshot", s.snapshot),
        ("snapshot_prefix", snapshot_prefix),
    ]
    if s.clip_gradients is not None:
        fields.append(("clip_gradients", s.clip_gradients))
    text = format_fields(fields, message_class("SolverParameter").DESCRIPTOR)
    return f"# The solver, written by `cpm-port prototxt`.\n{text}"


def write_files(
    net: Architecture, folder: Path, data: TrainingData | None = None, solver: SolverSettings | None = None
) -> tuple[Path, Path, Path]:
    """Write `NAME_{deploy,train,solver}.prototxt` into `folder`; return the three paths.

    A net for other parts than the released one starts from weights that were trained for those: its solver clips
    gradients, or the first steps at the released rate throw such weights to infinity.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cpm_port.models import architecture, write_files
    >>> [path.name for path in write_files(architecture("mpi", stages=2), Path("nets"))]
    ['mpi_deploy.prototxt', 'mpi_train.prototxt', 'mpi_solver.prototxt']
    """
    stem = _stem(net)
    solver = solver or SolverSettings()
    released = ARCHITECTURES.get(net.name)
    if solver.clip_gradients is None and (released is None or net.parts != released.parts):
        solver = replace(solver, clip_gradients=_FINE_TUNING_CLIP)
    texts = {
        folder / f"{stem}_deploy.prototxt": deploy_text(net),
        folder / f"{stem}_train.prototxt": train_text(net, data),
        folder / f"{stem}_solver.prototxt": solver_text(f"{stem}_train.prototxt", stem, solver),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    deploy, train, solver_file = texts
    return deploy, train, solver_file


def _stem(net: Architecture) -> str:
    return net.name.replace("-", "_")


def _body(writer: NetWriter, *, trained: bool = False) -> None:
    net = writer.net
    if net.center_map:
        writer.slice("image", "data", ["image", "center_map"], 3)
        if net.stages > 1:
            writer.pool("pool_center_lower", "center_map", "AVE", 9, release.STRIDE)
        else:
            writer.layer("no_center", "Silence", ["center_map"], [])
    if net.residual:
        residual_stages(writer, net.residual, net.stages, net.maps, trained=trained)
    elif net.front:
        _vgg_stages(writer)
    else:
        _paper_stages(writer)


def _trunk(writer: NetWriter, stage: int, rate: int) -> str:
    blob = "image"
    for i in (1, 2, 3):
        blob = writer.conv(f"conv{i}_stage{stage}", blob, writer.net.widths.trunk, 9, rate)
        blob = writer.pool(f"pool{i}_stage{stage}", blob, "MAX", 3, 2)
    return blob


def _paper_stages(writer: NetWriter) -> None:
    net, w = writer.net, writer.net.widths
    blob = _trunk(writer, 1, rate=5)
    blob = writer.conv("conv4_stage1", blob, w.context, 5, 5)
    blob = writer.conv("conv5_stage1", blob, w.classifier, 9, 5)
    blob = writer.conv("conv6_stage1", blob, w.classifier, 1, 5)
    beliefs = writer.conv("conv7_stage1", blob, net.maps, 1, 5, relu=False)
    for t in range(2, net.stages + 1):
        if t == 2:
            _trunk(writer, 2, rate=1)
        features = writer.conv("conv4_stage2" if t == 2 else f"conv1_stage{t}", "pool3_stage2", w.context, 5, 1)
        blob = writer.concat(f"concat_stage{t}", [features, beliefs, "pool_center_lower"])
        beliefs = _refinement(writer, t, blob, kernels=(11, 11, 11, 1), rate=1)


def _vgg_stages(writer: NetWriter) -> None:
    net = writer.net
    blob, pools = "image", 0
    for step in net.front:
        if step is None:
            pools += 1
            blob = writer.pool(f"pool{pools}_stage1", blob, "MAX", 2, 2)
        else:
            blob = writer.conv(step.name, blob, step.outputs, step.kernel, 1)
    features = blob
    hidden, last = net.classifier_names
    beliefs = writer.conv(last, writer.conv(hidden, features, net.widths.classifier, 1, 1), net.maps, 1, 1, relu=False)
    center = ["pool_center_lower"] if net.center_map else []
    for t in range(2, net.stages + 1):
        blob = writer.concat(f"concat_stage{t}", [beliefs, features, *center])
        beliefs = _refinement(writer, t, blob, kernels=(7, 7, 7, 7, 7, 1), rate=4)


def _refinement(writer: NetWriter, stage: int, blob: str, kernels: Sequence[int], rate: int) -> str:
    for i, kernel in enumerate(kernels, start=1):
        blob = writer.conv(f"Mconv{i}_stage{stage}", blob, writer.net.widths.refinement, kernel, rate)
    return writer.conv(f"Mconv{len(kernels) + 1}_stage{stage}", blob, writer.net.maps, 1, rate, relu=False)
