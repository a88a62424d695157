"""How files are opened and written, whatever they hold: whole or not at all, and not trusted before they are checked.

- `atomic.py`: a file appears whole or not at all;
- `digest.py`: a file's SHA-256;
- `hdf5.py`, `matlab.py`: HDF5 and MATLAB containers, with errors that name the file.

Exports nothing of its own: import from the modules. No torch in this room.
"""
