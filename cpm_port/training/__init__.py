"""Train a Caffe net as its solver file says: records -> batches -> losses -> updates -> snapshots.

Data flows from records to a trained net:

- `sources.py`, `cache.py`: which records; `transform_param.py`, `augment.py`, `labels.py`: one record made an example,
  as the authors' data layer makes it, with `crand.py` for its random numbers;
- `streams.py`, `caffe_streams.py`, `batches.py`: the net's data layers; `batch_files.py`: their batches as files;
- `objective.py`, `loss.py`, `recompute.py`: the losses and their gradients;
- `solver.py`, `lr_policy.py`, `presets.py`: the update; `history.py`, `snapshot.py`, `finetune.py`: weights and solver
  state, written and read;
- `validation.py`, `testnets.py`: how good the net is meanwhile; `progress.py`, `caffe_log.py`, `curves.py`: what a run
  writes about it;
- `loop.py`: the order of all this; `sanity.py`: what tells that a run has gone wrong; `distributed.py`, `signals.py`:
  several processes, and stopping them;
- `run.py`, `solver_nets.py`: from a solver file to a run that is ready (`cpm-port train`).

Exports nothing of its own: import from the modules.
"""
