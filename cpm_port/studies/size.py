"""How large a study is: the numbers that `cpm-port study` has options for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StudySize"]


@dataclass(frozen=True)
class StudySize:
    """How large a study is.

    Attributes
    ----------
    stages, width, box : int
        Of the nets: stages at most, channels at most, input px.
    batch, iterations : int
        Of every run.
    people, held_out : int
        Drawn people to train and to measure on.
    difficulty : int
        Of the drawn people.
    seed : int
    """

    stages: int = 3
    width: int = 16
    box: int = 96
    batch: int = 8
    iterations: int = 600
    people: int = 1000
    held_out: int = 200
    difficulty: int = 20
    seed: int = 0
