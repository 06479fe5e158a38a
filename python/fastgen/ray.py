"""Fastgen on a cluster of Ray: a server as an actor, as a stage of Ray Data, and as an app of Ray Serve.

Needs `pip install 'fastgen[ray]'`; the page is docs/ray.md.
"""

try:
    import ray as _ray
except ImportError as error:
    raise ImportError("fastgen.ray needs Ray: pip install 'fastgen[ray]'") from error

from .ray_actor import FastgenActor
from .ray_data import FastgenStage
from .ray_serve import FastgenDeployment, build_app

__all__ = ["FastgenActor", "FastgenDeployment", "FastgenStage", "build_app"]
