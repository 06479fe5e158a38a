"""TRL's async GRPO with fgserve: how its trainer sends weights, in place of NCCL.

    AsyncGRPOTrainer(..., weight_transfer=FastgenWeights("http://localhost:5678"))

Trainer and server run on one machine. A server that has a key needs it here too.
"""

from collections.abc import Iterator
from typing import Any

from fastgen import Fastgen


class FastgenWeights:
    """What AsyncGRPOTrainer calls at each step: it pauses the server, sends named tensors, and lets it go on."""

    def __init__(self, url: str, api_key: str | None = None):
        self.fastgen = Fastgen(url=url, api_key=api_key)

    def init_weight_transfer(self) -> None:
        """There is nothing to set up."""

    def pause(self) -> None:
        self.fastgen.pause("keep")

    def send_weights(self, iterator: Iterator[tuple[str, Any]]) -> None:
        self.fastgen.update_weights(iterator)

    def resume(self) -> None:
        self.fastgen.resume()

    def destroy(self) -> None:
        self.fastgen.stop()
