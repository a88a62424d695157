"""How many inputs each reader was tried with, for the line that pytest prints at the end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Of one reader: inputs, those refused, the longest try in seconds, the most memory in bytes."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    memory: int = 0

    def add(self, refused: bool, seconds: float, memory: int) -> None:
        self.inputs += 1
        self.refused += refused
        self.seconds = max(self.seconds, seconds)
        self.memory = max(self.memory, memory)


TALLIES: dict[str, Tally] = {}
