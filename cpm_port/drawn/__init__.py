"""Drawn people: pictures with known joints, made from a seed, for tests, demonstrations and small training runs.

- `postures.py`: how a body stands; `people.py`: its clothes; `scenes.py`: what is around it; `picture.py` and
  `_kernels.py`: the pixels;
- `source.py`: `drawn:count=...`, the data set that they make; `walkers.py`: a film.

Exports nothing of its own: import from the modules. No torch in this room.
"""
