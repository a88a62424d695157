"""Drawn people: pictures with known joints, made from a seed, for tests, demonstrations and small training runs.

- `people.py`: a body and its pose; `scenes.py`: the picture around it; `_kernels.py`: the pixels;
- `source.py`: `drawn:count=...`, the data set that they make.

Exports nothing of its own: import from the modules. No torch in this room.
"""
