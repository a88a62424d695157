"""A person's joints: image, center and scales in; the boxes, one forward for all of them, the way back, the peaks.

Where in the flow: the whole of it. `predict_person` is `build_pyramid` (CPU threads, no torch), `run_net` (the net's
device) and `gather` (the same device) in a row; `stream.py` lets them overlap and puts several people into a forward.

Memory: a forward takes as many boxes at once as a bound on the net's blobs allows (`engine/activations.py`); more are
run in several passes of about equal size. Boxes do not see each other, so this changes no result, but for the last
bits where a convolution library sums in another order for another number of images.

Conventions: coordinates are `(x, y)`, 0-based image px. Belief maps are (levels, parts + 1, h, w), the
background last, in box cells.

Source: the reference notes (`release_testing.md`), every section; checked on what the release's own code gave
(tests/inference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpm_port.compute.devices import to_device, to_host
from cpm_port.engine.activations import activation_bound, images_within
from cpm_port.errors import ModelFileError, ShapeError, UsageError
from cpm_port.imaging.boxing import BoxGeometry
from cpm_port.imaging.gaussians import centered_map
from cpm_port.imaging.pyramid import Pyramid, ScaleSearch, build_pyramid
from cpm_port.inference.beliefs import WayBack, image_maps
from cpm_port.inference.interface import BeliefNet, NetInterface, read_interface
from cpm_port.inference.joints import find_peaks
from cpm_port.inference.peaks import Peaks, queue_peaks
from cpm_port.parts import PartOrder
from cpm_port.release import BENCHMARK_MULTIPLIERS, PIXEL_DIVISOR, PIXEL_OFFSET

__all__ = [
    "Beliefs",
    "MapWindow",
    "Mode",
    "Prediction",
    "device_of",
    "gather",
    "largest_batch",
    "net_input",
    "predict_person",
    "queue_finite_check",
    "queue_gather",
    "require_finite",
    "require_finite_maps",
    "run_net",
    "run_people",
]

Mode = Literal["benchmark", "demo"]
MapWindow = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What the net gave for one pyramid.

    Attributes
    ----------
    final : Tensor, shape (M, P + 1, h, w)
        The output's belief maps.
    stages : dict of int to Tensor
        Each stage's, where they were wanted.

    Examples
    --------
    >>> import torch
    >>> from cpm_port.inference.predict import Beliefs
    >>> Beliefs(torch.zeros(7, 15, 23, 23)).stages
    {}
    """

    final: Tensor
    stages: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One person's joints, and how they were looked for.

    Attributes
    ----------
    joints_image : ndarray, shape (P, 2), float64
        `(x, y)`, 0-based image px.
    scores : ndarray, shape (P,), float64
        The merged map's value at each joint: over M scales the sum (benchmark, so up to about M) or the mean (demo).
    part_order : PartOrder
        Names of the parts.
    mode : {"benchmark", "demo"}
        How maps were merged and ties broken.
    search : ScaleSearch
        Center, base scale and multipliers.
    box_size : int
        Side of the net's input.
    image_size : (int, int)
        Height and width.
    score_maps : ndarray, shape (H, W, P + 1), float32, or None
        The merged maps, the background last.
    stage_maps : dict of int to ndarray
        Stage -> the merged maps of that stage at the asked rows and columns, (rows, columns, P + 1), float32.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.predict import predict_person
    >>> found = predict_person(net, np.zeros((80, 60, 3), np.uint8), (30.0, 40.0), 0.8, (0.9, 1.1))
    >>> found.peak_limit, found.mode, found.image_size
    (2, 'benchmark', (80, 60))
    """

    joints_image: NDArray[np.float64]
    scores: NDArray[np.float64]
    part_order: PartOrder
    mode: Mode
    search: ScaleSearch
    box_size: int
    image_size: tuple[int, int]
    score_maps: NDArray[np.float32] | None = None
    stage_maps: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def peak_limit(self) -> int:
        """The value of a merged map where every scale is sure of a part: M for the sum, 1 for the mean."""
        return len(self.search.multipliers) if self.mode == "benchmark" else 1


def predict_person(
    net: BeliefNet,
    image: NDArray[np.uint8],
    center_xy: tuple[float, float],
    base_scale: float,
    multipliers: Sequence[float] = BENCHMARK_MULTIPLIERS,
    mode: Mode = "benchmark",
    *,
    part_order: PartOrder | None = None,
    sigma: float | None = None,
    keep_maps: bool = False,
    stage_window: MapWindow | None = None,
    max_batch: int | None = None,
) -> Prediction:
    """Find one person's joints.

    Parameters
    ----------
    net : BeliefNet
        For instance what `cpm_port.load_net` returns.
    image : ndarray, shape (H, W, 3), uint8, BGR
    center_xy : (float, float)
        About the middle of the person, 0-based image px.
    base_scale : float
        Scaled px per image px at multiplier 1.
    multipliers : sequence of float
        The scales to look at, relative to `base_scale`.
    mode : {"benchmark", "demo"}
        Sum the scales' maps, or average them; and which of equal peaks wins.
    part_order : PartOrder, optional
        The net's parts; by default known by their number.
    sigma : float, optional
        Of the center map, box px; by default 21 in proportion to the box (`read_interface`).
    keep_maps : bool
        Keep the merged maps, H x W x (P + 1).
    stage_window : (rows, columns), optional
        Image rows and columns (increasing) at which to keep every stage's merged maps.
    max_batch : int, optional
        How many scales may go through the net at once; by default `largest_batch`.

    Returns
    -------
    Prediction

    Raises
    ------
    UsageError
        The net is no pose net, center or scales make no sense, or `max_batch` is not positive.
    ShapeError
        The image is not (H, W, 3) uint8.
    ModelFileError
        The net's maps are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.predict import predict_person
    >>> predict_person(net, np.zeros((80, 60, 3), np.uint8), (30.0, 40.0), base_scale=0.8).joints_image.shape
    (14, 2)
    """
    interface = read_interface(net, part_order, sigma)
    search = ScaleSearch((float(center_xy[0]), float(center_xy[1])), float(base_scale), tuple(map(float, multipliers)))
    pyramid = build_pyramid(image, search.center_xy, search.scales, interface.box_size)
    beliefs = run_net(net, interface, pyramid, stages=stage_window is not None, max_batch=max_batch)
    return gather(beliefs, pyramid.geometries, interface, search, mode, keep_maps=keep_maps, stage_window=stage_window)


def run_net(
    net: BeliefNet, interface: NetInterface, pyramid: Pyramid, *, stages: bool = False, max_batch: int | None = None
) -> Beliefs:
    """Run the net on all boxes of a pyramid.

    Parameters
    ----------
    net : BeliefNet
    interface : NetInterface
        What `read_interface` returned for the net.
    pyramid : Pyramid
    stages : bool
        Also return every stage's maps.
    max_batch : int, optional
        How many boxes may go through the net at once; by default `largest_batch`.

    Raises
    ------
    ModelFileError
        A belief is NaN or infinite.
    UsageError
        `max_batch` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.interface import read_interface
    >>> from cpm_port.inference.predict import run_net
    >>> pyramid = build_pyramid(np.zeros((80, 60, 3), np.uint8), (30.0, 40.0), (0.8, 1.0), 64)
    >>> beliefs = run_net(net, read_interface(net), pyramid, stages=True)
    >>> tuple(beliefs.final.shape), list(beliefs.stages)
    ((2, 15, 8, 8), [1, 2])
    """
    (beliefs,) = run_people(net, interface, [pyramid], stages=stages, max_batch=max_batch)
    require_finite(beliefs, net, interface)
    return beliefs


def run_people(
    net: BeliefNet,
    interface: NetInterface,
    pyramids: Sequence[Pyramid],
    *,
    stages: bool = False,
    max_batch: int | None = None,
) -> list[Beliefs]:
    """Run the net on the boxes of several people together; as `run_net`, but the beliefs are not checked.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.interface import read_interface
    >>> from cpm_port.inference.predict import run_people
    >>> pyramid = build_pyramid(np.zeros((80, 60, 3), np.uint8), (30.0, 40.0), (0.8, 1.0), 64)
    >>> len(run_people(net, read_interface(net), [pyramid, pyramid]))
    2
    """
    wanted = list(interface.stages.values()) if stages else []
    limit = largest_batch(net, wanted) if max_batch is None else max_batch
    if limit < 1:
        raise UsageError(f"max_batch is {limit}, expected at least 1")
    crops = np.concatenate([pyramid.crops for pyramid in pyramids])
    passes = []
    with torch.inference_mode():
        for part in np.array_split(crops, -(-len(crops) // limit)):
            data = net_input(part, interface.channels, interface.center_sigma, device_of(net))
            blobs = net({interface.input: data}, blobs=wanted)
            passes.append({name: blobs[name] for name in (interface.output, *wanted)})
            del data, blobs
        counts = [len(pyramid.crops) for pyramid in pyramids]
        shares = {name: torch.split(torch.cat([maps[name] for maps in passes]), counts) for name in passes[0]}
    return [
        Beliefs(
            shares[interface.output][person],
            {stage: shares[blob][person] for stage, blob in interface.stages.items()} if stages else {},
        )
        for person in range(len(pyramids))
    ]


def largest_batch(net: BeliefNet, blobs: Sequence[str] = ()) -> int:
    """Return how many boxes may go through a net at once: 1 GiB of blobs on a CPU, half of a GPU's free memory.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.predict import largest_batch
    >>> largest_batch(net) >= 1
    True
    """
    return images_within(activation_bound(device_of(net)), net.spec, net.blob_shapes, blobs)


def require_finite(beliefs: Beliefs, net: BeliefNet, interface: NetInterface) -> None:
    """Raise a ModelFileError where a final belief is NaN or infinite.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> import torch
    >>> from cpm_port.inference.interface import read_interface
    >>> from cpm_port.inference.predict import Beliefs, require_finite
    >>> require_finite(Beliefs(torch.zeros(1, 15, 8, 8)), net, read_interface(net))
    """
    require_finite_maps(beliefs.final, net, interface)


def require_finite_maps(maps: Tensor, net: BeliefNet, interface: NetInterface) -> None:
    """As `require_finite`, of the maps alone.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> import torch
    >>> from cpm_port.inference.interface import read_interface
    >>> from cpm_port.inference.predict import require_finite_maps
    >>> require_finite_maps(torch.zeros(1, 15, 8, 8), net, read_interface(net))
    """
    queue_finite_check(maps, net, interface)()


def queue_finite_check(maps: Tensor, net: BeliefNet, interface: NetInterface) -> Callable[[], None]:
    """Begin `require_finite_maps`; on a GPU only what is returned waits, and raises. On a CPU this raises."""
    answer = to_host(torch.isfinite(maps).all())

    def check() -> None:
        if not answer():
            raise ModelFileError(
                f"{net.spec.source}: belief maps {interface.output!r} are not finite: are the weights?"
            )

    if maps.device.type == "cpu":
        check()
    return check


def net_input(
    crops: NDArray[np.uint8],
    channels: int,
    sigma: float | None = None,
    device: torch.device | str = "cpu",
    *,
    centered: bool = True,
) -> Tensor:
    """Make the net's input of the boxes, on its device: `pixel / 256 - 0.5`, and the center map where it has a place.

    Parameters
    ----------
    crops : ndarray, shape (M, b, b, 3), uint8, BGR
    channels : int
        3, or 4 with the center map.
    sigma : float, optional
        Of the center map, box px; by default 21 in proportion to the box.
    device : torch.device or str
        Where the input is made.
    centered : bool
        Whether somebody in the middle is meant; else the center map is 0, and the crops may be of any height and width.

    Returns
    -------
    Tensor, shape (M, channels, b, b), float32

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.inference.predict import net_input
    >>> data = net_input(np.full((2, 64, 64, 3), 128, np.uint8), channels=4)
    >>> tuple(data.shape), float(data[0, 0, 0, 0]), float(data[0, 3, 31, 31])
    ((2, 4, 64, 64), 0.0, 1.0)
    """
    square = not centered or crops.shape[1:2] == crops.shape[2:3]
    if crops.ndim != 4 or crops.shape[3] != 3 or not square or crops.dtype != np.uint8:
        raise ShapeError(f"crops are {crops.shape} {crops.dtype}, expected (M, b, b, 3) uint8")
    pixels = to_device(crops, device).permute(0, 3, 1, 2)
    blob = torch.empty((len(crops), channels, *crops.shape[1:3]), dtype=torch.float32, device=pixels.device)
    blob[:, :3] = pixels
    blob[:, :3].div_(PIXEL_DIVISOR).sub_(PIXEL_OFFSET)
    if channels == 4:
        blob[:, 3] = to_device(centered_map(crops.shape[1], sigma), pixels.device) if centered else 0.0
    return blob


def gather(
    beliefs: Beliefs,
    geometries: Sequence[BoxGeometry],
    interface: NetInterface,
    search: ScaleSearch,
    mode: Mode = "benchmark",
    *,
    keep_maps: bool = False,
    stage_window: MapWindow | None = None,
) -> Prediction:
    """Merge the maps of all scales on the image and take the peaks; parameters as in `predict_person`.

    Examples
    --------
    >>> import numpy as np
    >>> from cpm_port.imaging.pyramid import build_pyramid
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.imaging.pyramid import ScaleSearch
    >>> from cpm_port.inference.interface import read_interface
    >>> from cpm_port.inference.predict import gather, run_net
    >>> search, interface = ScaleSearch((30.0, 40.0), 0.8, (0.9, 1.1)), read_interface(net)
    >>> pyramid = build_pyramid(np.zeros((80, 60, 3), np.uint8), search.center_xy, search.scales, 64)
    >>> found = gather(run_net(net, interface, pyramid), pyramid.geometries, interface, search)
    >>> found.scores.shape
    (14,)
    """
    return queue_gather(beliefs, geometries, interface, search, mode, keep_maps=keep_maps, stage_window=stage_window)()


def queue_gather(
    beliefs: Beliefs,
    geometries: Sequence[BoxGeometry],
    interface: NetInterface,
    search: ScaleSearch,
    mode: Mode = "benchmark",
    *,
    keep_maps: bool = False,
    stage_window: MapWindow | None = None,
    way: WayBack | None = None,
) -> Callable[[], Prediction]:
    """Begin `gather`; on a GPU only what is returned waits, unless maps are kept. A CPU has done it then.

    `way` is what `way_back` gives for the geometries, where it was made beforehand.
    """
    if mode not in ("benchmark", "demo"):
        raise UsageError(f"mode {mode!r}: expected 'benchmark' or 'demo'")
    share = 1.0 if mode == "benchmark" else 1.0 / len(geometries)
    peaks: Callable[[], Peaks]
    score_maps = None
    with torch.inference_mode():
        if keep_maps:
            sums = _queue_merged(beliefs.final, geometries, 1.0, None)()
            peaks = partial(find_peaks, sums[..., :-1], mode)
            score_maps = sums if mode == "benchmark" else sums * np.float32(share)
        else:
            peaks = queue_peaks(beliefs.final[:, :-1], geometries, mode, way)
        stage_maps = {
            stage: _queue_merged(maps, geometries, share, stage_window)
            for stage, maps in (beliefs.stages.items() if stage_window is not None else ())
        }
    image_size = geometries[0].image_size

    def prediction() -> Prediction:
        joints, scores = peaks()
        return Prediction(
            joints_image=joints,
            scores=scores * share,
            part_order=interface.part_order,
            mode=mode,
            search=search,
            box_size=interface.box_size,
            image_size=image_size,
            score_maps=score_maps,
            stage_maps={stage: maps() for stage, maps in stage_maps.items()},
        )

    return prediction


def _queue_merged(
    maps: Tensor, geometries: Sequence[BoxGeometry], share: float, window: MapWindow | None
) -> Callable[[], NDArray[np.float32]]:
    rows, columns = window if window is not None else (None, None)
    return to_host(image_maps(maps, geometries, rows=rows, columns=columns) * share)


def device_of(net: BeliefNet) -> torch.device:
    """Return where the net runs: where its first parameter is.

    Examples
    --------
    >>> import cpm_port
    >>> from cpm_port.caffe import parse_net
    >>> from cpm_port.models import architecture, deploy_text
    >>> net = cpm_port.load_net(parse_net(deploy_text(architecture("mpi", stages=2, width=4, box=(64, 64)))))
    >>> from cpm_port.inference.predict import device_of
    >>> device_of(net)
    device(type='cpu')
    """
    first = next(net.parameters(), None) if isinstance(net, nn.Module) else None
    return first.device if first is not None else torch.device("cpu")
