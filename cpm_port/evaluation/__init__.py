"""Predictions and labels -> scores, as the data sets' own protocols count them, and beside what was published.

Data flows from two files to one evaluation:

- `run.py`: the whole way (`cpm-port evaluate`); `regress.py`: every reference result again (`cpm-port regress`);
- `truth.py`: labels as arrays; `measure.py`: both sides brought together, every joint's error;
- `protocols.py`: who counts what and how, with `pck.py`, `pcp.py`, `pdj.py`; `scores.py`: the typed result;
- `diagnose.py`: which slip would explain a score;
- `reference.py`: the published tables; `recorded.py`: the scores of the model that ships; `embedded.py`: predictions
  that ship with their scores.

Exports nothing of its own: import from the modules. No torch in this room.
"""
