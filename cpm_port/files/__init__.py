"""How files are opened and written, whatever they hold: whole or not at all, and not trusted before they are checked.

- `atomic.py`: a file appears whole or not at all;
- `digest.py`: a file's SHA-256; `names.py`: file names as text;
- `hdf5.py`, `matlab.py` (over `matlab_format.py`), `lmdb_pages.py`, `json_text.py`, `npz.py`: containers that are
  checked before they are believed, with errors that name the file. Each is the one door to its kind.

Exports nothing of its own: import from the modules. No torch in this room.
"""
