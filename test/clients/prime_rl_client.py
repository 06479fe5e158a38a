"""prime-rl: rollouts by its `renderers` package, and a step of its orchestrator: pause (keep), weights from a folder, resume.

The orchestrator's client is not on PyPI. A fourth argument names its file, src/prime_rl/utils/client.py of a checkout; without one,
the same requests are sent by httpx, as that file sends them.
"""

import asyncio
import importlib.util
import pathlib
import shutil
import sys
import tempfile
import types

import httpx
from openai import AsyncOpenAI
from renderers import DefaultRendererConfig, create_renderer
from renderers.base import load_tokenizer
from renderers.client import OverlongPromptError, generate

url, model, folder = sys.argv[1:4]
client_file = sys.argv[4] if len(sys.argv) > 4 else None
READY_MARKER = "NCCL_READY"


def load_orchestrator_client(path):
    """The file with stand-ins for what it imports and this does not call: configurations, environments and the log."""
    log = types.SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error"), lambda _: None))
    wanted = {
        "verifiers.v1": {"ClientConfig": object},
        "verifiers.v1.configs.client": {"EvalClientConfig": object, "TrainClientConfig": object},
        "prime_rl.configs.shared": {"ClientConfig": object},
        "prime_rl.utils.logger": {"get_logger": lambda: log},
    }
    for name, members in wanted.items():
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:length]), types.ModuleType(parts[length - 1]))
        sys.modules[name].__dict__.update(members)
        sys.modules[".".join(parts[:-1])].__dict__[parts[-1]] = sys.modules[name]
    spec = importlib.util.spec_from_file_location("orchestrator_client", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def update(admin, weights):
    """What the orchestrator does when a step of the trainer is there."""
    if client_file:
        orchestrator = load_orchestrator_client(client_file)
        await orchestrator.check_health([admin], timeout=10)
        await orchestrator.maybe_check_has_model([admin], model)
        await orchestrator.update_weights([admin], weights, step=1)
        return
    assert (await admin.get("/health")).status_code == 200
    names = [entry["id"] for entry in (await admin.get("/v1/models")).json()["data"]]
    assert model in names
    (await admin.post("/pause", params={"mode": "keep", "clear_cache": "false"})).raise_for_status()
    try:
        (weights / READY_MARKER).touch()
        (await admin.post("/update_weights", json={"weight_dir": weights.as_posix()})).raise_for_status()
    finally:
        (await admin.post("/resume")).raise_for_status()


async def main():
    renderer = create_renderer(load_tokenizer(folder), DefaultRendererConfig())
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="EMPTY")

    async def rollout(text, **params):
        return await generate(
            client=client,
            renderer=renderer,
            messages=[{"role": "user", "content": text}],
            model=model,
            sampling_params={"temperature": 1.0, "top_p": 1.0, "max_tokens": 24, **params},
            cache_salt="0",
        )

    sums = await asyncio.gather(*(rollout(f"What is {n} + 25?", temperature=0.0) for n in range(10, 26)))
    assert "17 + 25 = 42" in sums[7]["content"], sums[7]
    for answer in sums:
        assert len(answer["completion_ids"]) == len(answer["completion_logprobs"]) > 0
        assert answer["finish_reason"] == "stop" and max(answer["completion_logprobs"]) <= 0
    try:
        await rollout("word " * 4000)
        raise SystemExit("a prompt beyond the context was sent")
    except OverlongPromptError:
        pass

    # New weights arrive in the midst of answers, which go on with them. They are the old ones again, so answers stay as they were.
    weights = pathlib.Path(tempfile.mkdtemp()) / "step_1"
    shutil.copytree(folder, weights)
    async with httpx.AsyncClient(base_url=url, timeout=60) as admin:
        running = [asyncio.create_task(rollout(f"What is {n} + 25?", temperature=0.0)) for n in range(10, 26)]
        await update(admin, weights)
        for before, after in zip(sums, await asyncio.gather(*running)):
            assert after["content"] == before["content"], (before, after)
        assert (await admin.get("/liveness")).status_code == 200
    shutil.rmtree(weights.parent)
    print("prime-rl", "done")


asyncio.run(main())
