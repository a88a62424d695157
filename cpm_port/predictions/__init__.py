"""Prediction files <-> `Predictions`: joints that somebody predicted, of many people, with names and a convention.

- `values.py`: `Predictions`, what is read and written;
- `files.py`: by a file's kind to the reader or writer that knows it;
- `mat_files.py`, `json_files.py`: MATLAB files, and the JSON of COCO and OpenPose;
- `results.py`: the JSON that `cpm-port predict` writes of an image or a video.

Exports nothing of its own: import from the modules. No torch in this room.
"""
