"""Images and a net -> joints: the release's test pipeline, for one person, for files, for a whole data set.

Data flows from a picture to its joints, and every file calls only those below it in this list:

- `face.py`: the model that is called with pictures (`cpm_port.load_model`), with `sources.py` (what a picture may be);
- `run.py`: files in, files out (`cpm-port predict`), with `targets.py` (which files, and their results' names),
  `videos.py` (a video's people), `outputs.py` (what a whole run writes) and `results.py` (a result, and what is written
  of it);
- `finding.py`: pictures in, results out, for both of these; `looking.py`: who is looked for, and `following.py`:
  everybody, from frame to frame;
- `dataset.py`: a model over a data set (`cpm-port evaluate --data`), with `journal.py` (progress that survives a kill);
- `notebook.py`: several people as the release's notebook finds them; `people.py`: what any finder of people offers;
- `model.py`: a model's files -> a net that is ready; `whole_picture.py`: where to look when no place is given;
- `crowd.py`: where everybody is, with `sureness.py` (the thresholds on beliefs); `together.py`: several people of one
  image; `tracking.py`, `colours.py`: who is who in a video;
- `stream.py`: many people, reading while the net runs;
- `whereabouts.py`: what a user or a data set gives -> where to look; `predict.py`: one person: pyramid, net, peaks;
- `interface.py`: what the pipeline must know of a net; `beliefs.py`, `peaks.py`, `joints.py`: belief maps back on the
  image, and their peaks.

Exports nothing of its own: import from the modules.
"""
