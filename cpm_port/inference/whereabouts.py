"""Where the person is, as a user or a data set's labels give it, and the search that follows from it.

Where in the flow: before the pyramid. The rules themselves are `cpm_port.imaging.pyramid`'s; looking for the person is
`whole_picture.py`'s.

Conventions: points and boxes are 0-based image px; a box is `(x, y, width, height)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cpm_port.annotations.genjson import OWN_ORDER
from cpm_port.annotations.samples import Sample
from cpm_port.errors import DataError, UsageError
from cpm_port.imaging.pyramid import (
    ScaleSearch,
    box_search,
    demo_multipliers,
    demo_search,
    flic_search,
    lsp_search,
    mpii_search,
    positive,
)
from cpm_port.inference.predict import Mode
from cpm_port.release import BOX_SIZE, LSP_BOX_SHARE

__all__ = ["Whereabouts", "search_of"]


@dataclass(frozen=True)
class Whereabouts:
    """Where the person is, and at which scales to look; by default unknown.

    Attributes
    ----------
    center_xy : (float, float) or None
        The person's middle, image px; with `base_scale`.
    base_scale : float or None
        Scaled px per image px, with `center_xy`.
    box : (float, float, float, float) or None
        The person's box, instead of these two.
    multipliers : tuple of float or None
        Scales to try, times the base scale, instead of the mode's own.
    mode : {"benchmark", "demo"}
        Sum the maps over 0.7 to 1.3 times the base scale, or average them over the demo's wider range.

    Raises
    ------
    UsageError
        Of center and base scale one without the other, a box besides, or a number that no image could make sense of.
    """

    center_xy: tuple[float, float] | None = None
    base_scale: float | None = None
    box: tuple[float, float, float, float] | None = None
    multipliers: tuple[float, ...] | None = None
    mode: Mode = "benchmark"

    def __post_init__(self) -> None:
        if (self.center_xy is None) != (self.base_scale is None):
            raise UsageError("--center and --base-scale belong together")
        if self.center_xy is not None and self.box is not None:
            raise UsageError("give --box, or --center with --base-scale, not both")
        for multiplier in self.multipliers or ():
            positive("--multipliers", multiplier)
        if self.base_scale is not None:
            positive("--base-scale", self.base_scale)
        if self.box is not None:
            positive("--box: width", self.box[2])
            positive("--box: height", self.box[3])

    @property
    def given(self) -> bool:
        """Whether the user says where the person is."""
        return self.center_xy is not None or self.box is not None

    def search(self, image_size: tuple[int, int], box_size: int, found: ScaleSearch | None = None) -> ScaleSearch:
        """Return where to look and at which scales.

        Without a person given: where one was found, else LSP's rule, the image's centre and its height as the person's.
        The demo's range of scales goes by the person's height in the image; with a base scale, and where one was found,
        that is the height which LSP's rule gives this scale.

        Parameters
        ----------
        image_size : (int, int)
            Height and width.
        box_size : int
            Side of the net's input.
        found : ScaleSearch, optional
            Where `find_person` found the person.
        """
        height: float | None
        if self.center_xy is not None and self.base_scale is not None:
            search = ScaleSearch(self.center_xy, self.base_scale)
            height = LSP_BOX_SHARE * box_size / self.base_scale
        elif self.box is not None and self.mode == "demo":
            search, height = demo_search(image_size, self.box, box_size), None
        elif self.box is not None:
            search, height = box_search(self.box, box_size), None
        elif found is not None:
            search, height = found, LSP_BOX_SHARE * box_size / found.base_scale
        else:
            search, height = lsp_search(image_size, box_size), float(image_size[0])
        if self.multipliers is not None:
            return ScaleSearch(search.center_xy, search.base_scale, self.multipliers)
        if self.mode == "demo" and height is not None:
            return ScaleSearch(search.center_xy, 1.0, demo_multipliers(image_size[0], height, box_size))
        return search


def search_of(sample: Sample, image_size: tuple[int, int], box_size: int = BOX_SIZE) -> ScaleSearch:
    """Return where the release looks for a sample's person.

    People of the extended Leeds set who have center and scale (`annotations/lspet.py`), drawn people, and those of data
    that names its own parts are looked for as MPII's are.

    Parameters
    ----------
    sample : Sample
    image_size : (int, int)
        Height and width of its image, px.
    box_size : int
        Side of the net's input: the scales are the release's times `box_size / 368`.

    Raises
    ------
    DataError
        A FLIC sample without torso box, or an MPII one without center or scale.
    """
    person = sample.person
    as_mpii = sample.dataset in ("MPI", "LSPET", "DRAWN") or sample.order.name == OWN_ORDER
    if as_mpii and person.center is not None and person.scale is not None:
        return mpii_search(person.center, person.scale, box_size)
    if sample.dataset in ("LSP", "LSPET"):
        return lsp_search(image_size, box_size)
    if sample.dataset == "FLIC" and person.torso_box is not None:
        return flic_search(person.torso_box, box_size)
    needed = "torso box" if sample.dataset == "FLIC" else "center and scale"
    raise DataError(f"{sample.dataset} {sample.name}: the annotations give no {needed}, so nothing says where to look")
