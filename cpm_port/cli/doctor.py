"""`cpm-port doctor`: what a report of a fault must say about this installation, and what is missing in it.

Exit code 1 where something is broken: an installed model that is not what was recorded, for instance.
"""

from __future__ import annotations

import argparse

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 where something is broken."""
    from cpm_port.doctor import examine, in_words

    findings = examine()
    print(in_words(findings))
    return 1 if findings.broken else 0
