"""Benches: speed beside named peers, in the same run, parity first. `cpm-port bench NAME` runs the module NAME here.

A bench's module opens with what it compares and what exactly is timed, and offers `configure(parser)` and
`run(args) -> dict`. The dictionary may hold anything that JSON holds; these keys are shown as a table:

- `parity`: what was found equal before anything was timed, and how closely.
- `medians`, `spread`: per side, the median in seconds, and [fastest, slowest].
- `ratios`: peer -> how many times faster we are (its median over ours); `targets`: for some of them, at least how many.
- `missed`: in words, what else fell short, where a bench promises something that is no ratio to a peer.

Every other quantity (a rate, a share) goes under a key of its own.

Modules that begin with an underscore are no benches: peers, timing, the parts of `gpu`, and what `--record` keeps
(`_records.py`) and `cpm-port bench report` makes of it (`_report.py`).
"""
