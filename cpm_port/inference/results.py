"""What was found in a picture: its people, as values, as pictures and as files.

Where in the flow: the last step. What the JSON holds is `cpm_port.predictions.results`'s to say; other people's formats
are `cpm_port.predictions.people_files`'s.

Conventions: joints and centers are `(x, y)`, 0-based image px; boxes `(x, y, width, height)`; pictures are BGR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpm_port.errors import UsageError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.names import printable
from cpm_port.imaging.pyramid import lsp_search
from cpm_port.imaging.writing import write_png
from cpm_port.inference.model import ReadyNet
from cpm_port.inference.predict import Prediction, predict_person
from cpm_port.inference.targets import Target
from cpm_port.parts import PartOrder
from cpm_port.predictions.image_results import ImageResult, NotebookResult
from cpm_port.predictions.people_files import PersonRow, coco_rows, mpii_record, openpose_content
from cpm_port.predictions.result_parts import JointRecord, ModelRecord, PersonRecord, SearchRecord
from cpm_port.release import BOX_SIZE
from cpm_port.report.drawing import draw_poses, map_grid, pictured_window

__all__ = ["NOBODY", "PersonResult", "Result", "joint_records", "named_joints", "search_record", "write_image_results"]

NOBODY = 0.25
"""Mean score below which one supposed person is nobody. Measured with the default model, where the whole picture is
searched: a flat picture gives up to 0.05, a gradient 0.03, coloured noise 0.20, 24 of LSP's people 0.29 to 0.76."""


@dataclass(frozen=True, eq=False)
class PersonResult:
    """One person who was found.

    Attributes
    ----------
    joints : ndarray, shape (P, 2), float64
        `(x, y)`, 0-based image px.
    scores : ndarray, shape (P,), float64
        How sure the net is of each joint: 0 not at all, 1 as sure as it was taught to be (its map's peak, the mean over
        the scales).
    part_order : PartOrder
        The joints' names (`part_order.parts`) and limbs.
    center : (float, float)
        Where the person was looked for.
    scale : float
        Scaled px per image px at which they were looked for, at multiplier 1.
    finder_score : float or None
        How sure the finder was of the person.
    id : int or None
        Who they are, from frame to frame of a video.
    prediction : Prediction or None
        All that is known of how the joints were found; None for the notebook's people.
    raw_scores : ndarray, shape (P,), float64
        The scores as the JSON has them: the maps' sum over the scales where that is the mode.

    Examples
    --------
    >>> import cpm_port
    >>> _, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> person = cpm_port.predict(picture, boxes=[(0, 0, 256, 256)])[0]
    >>> person.joints.shape, person.part_order.parts[0]
    ((14, 2), 'head_top')
    """

    joints: NDArray[np.float64]
    scores: NDArray[np.float64]
    part_order: PartOrder
    center: tuple[float, float]
    scale: float
    finder_score: float | None = None
    id: int | None = None
    prediction: Prediction | None = None
    raw_scores: NDArray[np.float64] | None = None

    @property
    def score(self) -> float:
        """The mean of the joints' scores; below `NOBODY`, what was looked at is hardly a person."""
        return float(self.scores.mean())

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box about the joints: x, y, width, height."""
        low, high = self.joints.min(axis=0), self.joints.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    def shown(self, min_score: float) -> NDArray[np.float64]:
        """Return the joints, those with a lower score as NaN."""
        return np.where((self.scores >= min_score)[:, None], self.joints, np.nan)

    def row(self, image: str) -> PersonRow:
        """Return the person as other people's formats take them."""
        return PersonRow(image, self.part_order, self.joints, self.scores, self.center, self._mpii_scale(), self.id)

    def record(self) -> PersonRecord:
        """Return the person as the JSON lists them."""
        raw = self.scores if self.raw_scores is None else self.raw_scores
        joints = named_joints(self.part_order, self.joints, raw, self.scores)
        base_scale = None if self.prediction is None else self.scale
        return PersonRecord(self.center, joints, self.finder_score, base_scale, self.id)

    def _mpii_scale(self) -> float:
        return max(self.box[2:]) / 200.0

    def __repr__(self) -> str:
        x, y, width, height = self.box
        name = "" if self.id is None else f" {self.id}"
        return f"<person{name} at x {x:.0f} y {y:.0f}, {width:.0f} x {height:.0f} px, score {self.score:.2f}>"


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in one picture; as a sequence, its people.

    Attributes
    ----------
    name : str
        The picture's path; `PATH, frame I` of a video, `image I` of what has no path.
    image : ndarray, shape (H, W, 3), uint8, BGR
    people : tuple of PersonResult
    model : ReadyNet
        What found them.
    place : str
        How it came about where they were looked for (`cpm_port.predictions.result_parts.PLACES`).
    several : bool
        Whether everybody was looked for, not one person.
    path : Path or None
        Of the picture's file.
    time : float or None
        Of a video's frame, seconds.
    person_model : ModelRecord or None
        Of the notebook's finder of people.

    Examples
    --------
    >>> import cpm_port
    >>> _, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> result = cpm_port.predict(picture, boxes=[(0, 0, 256, 256)])
    >>> len(result), result.draw().dtype, result.maps(stage=1).shape == (*picture.shape[:2], 15)
    (1, dtype('uint8'), True)
    """

    name: str
    image: NDArray[np.uint8]
    people: tuple[PersonResult, ...]
    model: ReadyNet
    place: str
    several: bool = False
    path: Path | None = None
    time: float | None = None
    person_model: ModelRecord | None = None

    def __len__(self) -> int:
        return len(self.people)

    def __iter__(self) -> Iterator[PersonResult]:
        return iter(self.people)

    def __getitem__(self, index: int) -> PersonResult:
        return self.people[index]

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        count = len(self.people)
        return f"<{self.name}, {width} x {height}: {count} {'person' if count == 1 else 'people'}>"

    def draw(self, min_score: float = 0.0) -> NDArray[np.uint8]:
        """Return the picture with everybody's limbs, BGR; joints of a lower score, and their limbs, are left out."""
        joints = [person.shown(min_score) for person in self.people]
        return draw_poses(self.image, joints, self.model.interface.part_order, [person.id for person in self.people])

    def maps(self, stage: int | None = None, person: int = 0) -> NDArray[np.float32]:
        """Return a stage's belief maps on the picture, merged over the scales: (H, W, P + 1), the background last.

        They are made when they are asked for, by one more run of the net.

        Parameters
        ----------
        stage : int, optional
            From 1; by default the last.
        person : int
            Whose.

        Raises
        ------
        UsageError
            No such stage or person; or the notebook's people, whose maps are not on the picture.
        """
        stages = self.model.interface.stages
        stage = max(stages) if stage is None else stage
        if stage not in stages or not -len(self.people) <= person < len(self.people):
            raise UsageError(
                f"{self.name}: maps of stage {stage}, person {person}; there are stages {', '.join(map(str, stages))} "
                f"and {len(self.people)} people"
            )
        found = self.people[person].prediction
        if found is None:
            raise UsageError(f"{self.name}: the notebook's people have no maps on the picture")
        height, width = found.image_size
        search = found.search
        again = predict_person(
            self.model.net, self.image, search.center_xy, search.base_scale, search.multipliers, found.mode,
            part_order=found.part_order, sigma=self.model.sigma, stage_window=(np.arange(height), np.arange(width)),
        )  # fmt: skip
        return again.stage_maps[stage]

    def save(
        self, folder: str | Path, *, pictures: bool = True, maps: bool = False, min_score: float = 0.0
    ) -> list[Path]:
        """Write what `cpm-port predict` writes of a picture, under the same names; return the files.

        Parameters
        ----------
        folder : path
        pictures : bool
            Write `STEM_joints.png`, the limbs over the picture.
        maps : bool
            Write `STEM_maps.png`, the belief maps.
        min_score : float
            Joints of a lower score are not drawn; the JSON has all.
        """
        named = self.path is not None and self.time is None
        stem = Path(self.name).stem if named else re.sub(r"[^\w-]+", "_", Path(self.name).name)
        target = Target(Path(self.name), Path(folder) / stem)
        return write_image_results(target, self, pictures=pictures, maps=maps, min_score=min_score)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the JSON that `cpm-port predict` writes."""
        return self.record().to_json()

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Return COCO keypoint results, one per person, with COCO's 17 keypoints; those that the net lacks are 0, 0, 0.

        `image_id` is by default the number that the file is called by, or its stem.
        """
        return coco_rows(self.rows(), image_id)

    def to_openpose(self) -> dict[str, Any]:
        """Return the content of OpenPose's JSON of a picture, version 1.3."""
        return openpose_content(self.rows())

    def to_mpii(self) -> dict[str, Any]:
        """Return an entry of MPII's `annolist` as plain values: 1-based px, MPII's part numbers."""
        return mpii_record(Path(self.name).name, self.rows())

    def rows(self) -> list[PersonRow]:
        """Return the people as other people's formats take them."""
        return [person.row(self.name) for person in self.people]

    def record(self) -> ImageResult | NotebookResult:
        """Return what the JSON holds, typed."""
        interface = self.model.interface
        people = tuple(person.record() for person in self.people)
        size = self.image.shape[0], self.image.shape[1]
        if self.person_model is not None:
            return NotebookResult(
                printable(self.name), size, BOX_SIZE / size[0], interface.box_size, interface.part_order.name, people,
                self.person_model, self.model.record,
            )  # fmt: skip
        first = self.people[0].prediction if self.people else None
        if first is None:
            rule = lsp_search(size, interface.box_size)
            search = SearchRecord(
                size, "benchmark", rule.center_xy, rule.base_scale, rule.multipliers, interface.box_size,
                interface.part_order.name,
            )  # fmt: skip
        else:
            search = search_record(first)
        joints = people[0].joints if people else ()
        several = people if self.several else None
        return ImageResult(printable(self.name), search, joints, self.place, self.model.record, several)


def write_image_results(
    target: Target,
    result: Result,
    *,
    pictures: bool = True,
    maps: bool = True,
    min_score: float = 0.0,
    json: bool = True,
) -> list[Path]:
    """Write the results of one picture; the JSON comes last, so that where it is, all are.

    Parameters
    ----------
    target : Target
    result : Result
        Where maps are asked for, with every stage's maps at `pictured_window` in each person's prediction.
    pictures, maps : bool
        Whether to write `STEM_joints.png`, and `STEM_maps.png`: a grid for every person.
    min_score : float
        Joints of a lower score are not drawn.
    json : bool
        Whether to write `STEM.json`.

    Returns
    -------
    list of Path
        What was written.
    """
    written = []
    if pictures:
        write_png(target.joints, result.draw(min_score))
        written.append(target.joints)
    grids = [_grid(result, person.prediction) for person in result if person.prediction is not None] if maps else []
    if grids:
        write_png(target.maps, _stacked(grids))
        written.append(target.maps)
    if json:
        with atomic_path(target.json) as temporary:
            temporary.write_text(result.record().text(), encoding="utf-8")
        written.append(target.json)
    return written


def search_record(prediction: Prediction) -> SearchRecord:
    """Return how the joints were looked for."""
    search = prediction.search
    return SearchRecord(
        prediction.image_size,
        prediction.mode,
        search.center_xy,
        search.base_scale,
        search.multipliers,
        prediction.box_size,
        prediction.part_order.name,
    )


def joint_records(prediction: Prediction) -> tuple[JointRecord, ...]:
    """Return the joints with names and scores."""
    sure = np.clip(prediction.scores / prediction.peak_limit, 0.0, 1.0)
    return named_joints(prediction.part_order, prediction.joints_image, prediction.scores, sure)


def named_joints(
    order: PartOrder, joints: NDArray[np.float64], scores: NDArray[np.float64], sure: NDArray[np.float64]
) -> tuple[JointRecord, ...]:
    """Return joints, (P, 2) image px, with the parts' names, their scores, (P,), and these from 0 to 1."""
    rows = zip(order.parts, joints.tolist(), scores.tolist(), sure.tolist(), strict=True)
    return tuple(JointRecord(name, x, y, score, confidence) for name, (x, y), score, confidence in rows)


def _grid(result: Result, found: Prediction) -> NDArray[np.uint8]:
    """Draw a person's belief maps; the net runs once more where the prediction did not keep them."""
    window = pictured_window(found.image_size, found.search, found.box_size)
    if not found.stage_maps:
        search = found.search
        found = predict_person(
            result.model.net, result.image, search.center_xy, search.base_scale, search.multipliers, found.mode,
            part_order=found.part_order, sigma=result.model.sigma, stage_window=window,
        )  # fmt: skip
    return map_grid(result.image, window, found.stage_maps, found.part_order, found.peak_limit)


def _stacked(grids: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay grids below each other, on white."""
    width = max(grid.shape[1] for grid in grids)
    wide = [np.pad(grid, ((0, 0), (0, width - grid.shape[1]), (0, 0)), constant_values=255) for grid in grids]
    return np.concatenate(wide)
