"""Image and video files -> pixels -> boxes for the net; with exact twins of MATLAB's and OpenCV's resizers.

- `reading.py`, `video.py`: files in, frames out;
- `resize.py`: MATLAB's `imresize`, for testing; `warp.py`: OpenCV 4's cubic resize and warp, for training;
- `boxing.py`: a box about a person, and the way back; `gaussians.py`: the box's center map;
- `pyramid.py`: where and how large to look for a person, and the boxes of all scales;
- `_kernels.py`, `_real_kernels.py`, `_warp_kernels.py`: the compiled loops of these.

Exports nothing of its own: import from the modules. No torch in this room.
"""
