"""Label files -> samples: the people of LSP, its extension, FLIC, MPII and the release's JSON, where a label puts them.

Data flows from a file's own layout to `Sample` (`samples.py`), one value for every data set:

- `lsp.py`, `lspet.py`, `flic.py`, `mpii.py`, `genjson.py`: one reader for each source;
- `centricity.py`, `mpi_like_scale.py`: whose left and right, and the scale of a person whose labels give none;
- `scored.py`, `trained.py`: the people that a protocol scores, and those to train on;
- `images.py`: whether their images are there.

Exports nothing of its own: import from the modules. No torch in this room.
"""
