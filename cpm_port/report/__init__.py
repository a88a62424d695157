"""Files, numbers and belief maps turned into tables, pictures and pages for people to read.

- `scores.py`, `page.py`, `pictures.py`: scores as text, as one page, as pictures; `ranking.py`: best and worst people;
- `plots.py`, `table.py`: the curves and bars, and the columns, that these are made of;
- `drawing.py`, `batch_pictures.py`: a prediction, and a training example, drawn over its image;
- `inspect.py`, `inspect_text.py`, `receptive.py`: what a Caffe file holds;
- `compare.py`: a net's blobs beside reference blobs.

Exports nothing of its own: import from the modules. What is shown was measured in the rooms before.
"""
