"""Prediction files <-> `Predictions`: the predicted joints of many people, with names and a convention.

- `values.py`: `Predictions`, what is read and written;
- `files.py`: the entry; it chooses reader and writer by the kind of file;
- `mat_files.py`, `json_files.py`: MATLAB files, and the JSON of COCO and OpenPose;
- `results.py`: the JSON that `cpm-port predict` writes, of an image (`image_results.py`) or a video
  (`video_results.py`), made of `result_parts.py`;
- `predicted.py`: the results of images as `Predictions`.

Exports nothing of its own: import from the modules. No torch in this room.
"""
