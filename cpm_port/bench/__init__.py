"""Benches: speed beside named peers, in the same run, parity first. `cpm-port bench NAME` runs the module NAME here.

A bench's module opens with what it compares and what exactly is timed, and offers `configure(parser)` and
`run(args) -> dict`. The dictionary may hold anything that JSON holds; these keys are shown as a table:

- `parity`: what was found equal before anything was timed, and how closely.
- `medians`, `spread`: per side, the median in seconds, and [fastest, slowest].
- `ratios`: named quotients of medians; `targets`: for some of them, the value that they must not exceed; `at_least`:
  for others (peers by name: how many times faster we are), the value that they must reach.
"""
