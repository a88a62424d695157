"""What the compiled loops use: vectors of 16 floats, threads that share a loop, memory that is kept between calls.

- `kernels.py`: numba's compiler, and where its machine code is kept; `simd.py`: a vector type for numba;
- `threads.py`: `share`, a loop over threads; `memory.py`: `Workspace`;
- `devices.py`: the device that a user names, and which process of several this is; `processes.py`: starting several;
- `machine.py`: what a figure was measured on.

Exports nothing of its own: import from the modules.
"""
