"""A server as an actor of Ray."""

from __future__ import annotations

import ray

from .ray_worker import WorkerFastgen

#: `FastgenActor.options(num_gpus=1).remote(model, max_model_len=4096)`: an actor that owns a server, with the methods of
#: AsyncFastgen. The server ends with its actor, and the actor with its server.
FastgenActor = ray.remote(WorkerFastgen)
