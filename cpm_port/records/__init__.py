"""Training records: samples -> the rows that the release's data layer reads, in JSON or in an LMDB.

- `record.py`: `Record`, a person with neighbours as training sees them;
- `genjson.py`: the release's JSON, written;
- `lmdb.py`: records with their pixels, in the layout of the release's data layer, written, read and checked;
- `shards.py`: records with their pictures' files in tars, streamed.

Exports nothing of its own: import from the modules. No torch in this room.
"""
