"""Models for `torch.hub.load(REPOSITORY, "cpm")`: pose models that are called with pictures, and their nets."""

from __future__ import annotations

from typing import Any

dependencies = ["torch", "numpy", "cv2", "scipy", "numba", "h5py", "google.protobuf", "PIL"]


def cpm(name: str = "default", **options: Any) -> Any:
    """Return `cpm_port.load_model(name, **options)`: called with pictures, it gives results.

    Parameters
    ----------
    name : str
        One of `cpm-port models`; only `default` ships with the package.
    **options
        `device`, `precision`; or `net` and `weights`, with `name=None`.
    """
    from cpm_port import load_model

    return load_model(name, **options)


def cpm_net(name: str = "default", device: str = "cpu") -> Any:
    """Return a model's net, an `nn.Module` that takes the input blob and returns the outputs by name."""
    from cpm_port import load_net
    from cpm_port.zoo import resolve

    choice = resolve(name)
    return load_net(choice.net, choice.weights, device=device)
