"""TRL's two clients of a vLLM server, from its own files, without torch: GRPO's generate and chat, async GRPO's rollouts and pauses.

Their weights travel by NCCL, which Fastgen does not take part in: what they get is a refusal that says what there is instead. Async
GRPO takes another way of sending them, which examples/rl has.
"""

import asyncio
import importlib.util
import json
import pathlib
import random
import sys
import types

import numpy

url, model, folder = sys.argv[1:4]
checkout = pathlib.Path(__file__).parents[2]


class Stub(types.ModuleType):
    """A module that is imported and not used here."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = Stub(f"{self.__name__}.{name}") if name == "nn" else type(name, (), {})
        setattr(self, name, value)
        return value


for name in ("torch", "torch.nn", "transformers", "transformers.utils", "accelerate", "accelerate.logging"):
    sys.modules[name] = Stub(name)
import logging  # noqa: E402

sys.modules["accelerate.logging"].get_logger = logging.getLogger
sys.modules["transformers.utils"].get_json_schema = lambda tool: tool
root = importlib.util.find_spec("trl").submodule_search_locations[0]


def load(name, path):
    """A module of TRL by its file: its package would import the trainers, which need torch."""
    module = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    with open(f"{root}/{path}") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    return module


for package in ("trl", "trl.generation", "trl.experimental", "trl.experimental.async_grpo"):
    module = sys.modules[package] = types.ModuleType(package)
    module.__path__ = []
checks = sys.modules["trl.import_utils"] = types.ModuleType("trl.import_utils")
checks.is_requests_available = lambda: True
checks.is_vllm_available = lambda min_version=None: False
grpo = load("trl.generation.vllm_client", "generation/vllm_client.py")
rollouts = load("trl.experimental.async_grpo.vllm_client", "experimental/async_grpo/vllm_client.py")

# It asks whether vLLM is installed, for the transfer of weights; generating needs nothing of it.
grpo.is_vllm_available = lambda: True
client = grpo.VLLMClient(base_url=url, connection_timeout=10)
assert client.model == model

prompts = ["The sky is", "One, two,", "Hello"]
texts = client.generate(prompts, n=4, max_tokens=8, temperature=0.9, top_p=0.95, logprobs=2)
assert len(texts["prompt_ids"]) == 3 and len(texts["completion_ids"]) == 12
for ids, logprobs, alternatives in zip(texts["completion_ids"], texts["logprobs"], texts["logprob_token_ids"]):
    assert len(ids) == len(logprobs) == len(alternatives)
    assert all(chosen in among for chosen, among in zip(ids, alternatives))
many = client.generate([texts["prompt_ids"][0]] * 256, n=4, max_tokens=2, generation_kwargs={"seed": 2**62 + 3})
assert len(many["completion_ids"]) == 1024
conversations = [[{"role": "user", "content": f"Say {word}."}] for word in ("yes", "no")]
chats = client.chat(conversations, n=2, max_tokens=4)
assert len(chats["completion_ids"]) == 4 and all(chats["prompt_ids"])
greedy = client.chat(conversations, n=2, max_tokens=4, temperature=0)

served = rollouts.VLLMClient(url, server_timeout=10)
served.wait_for_server_ready()
assert served.get_max_model_len() > 0
assert served.get_dtype().startswith("torch.")
assert served.get_world_size() == 1
client.reset_prefix_cache()


def refused(call, reason):
    """TRL's own error, or the server's words in it."""
    try:
        call()
    except Exception as error:
        assert reason in str(error), error
    else:
        raise SystemExit(f"not refused: {reason}")


refused(client.init_communicator, "has no weight-transfer engine")
refused(lambda: served.init_weight_transfer_engine({"world_size": 2}), "weight_dir")
refused(served.start_weight_update, "weight_dir")
refused(lambda: served.update_weights({"names": [], "dtype_names": [], "shapes": []}), "weight_dir")
refused(served.finish_weight_update, "weight_dir")


sys.path += [str(checkout / "python"), str(checkout / "examples/rl")]
from trl_weights import FastgenWeights  # noqa: E402


def checkpoint():
    """The weights that the server has, name by name, as a trainer in float32 has them."""
    data = pathlib.Path(folder, "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            bits = numpy.frombuffer(data[begin:end], numpy.uint16).astype(numpy.uint32) << 16
            yield name, bits.view(numpy.float32).reshape(entry["shape"])


async def async_rollouts():
    """The payload of async GRPO's worker, which draws a seed of 63 bits for each."""
    import aiohttp

    def payload():
        return {
            "model": model,
            "prompt": texts["prompt_ids"][0],
            "max_tokens": 8,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "repetition_penalty": 1.0,
            "n": 1,
            "return_token_ids": True,
            "logprobs": 0,
            "seed": random.getrandbits(63),
        }

    async with aiohttp.ClientSession(url) as session:

        async def one():
            async with session.post("/v1/completions", json=payload()) as reply:
                assert reply.status == 200, await reply.text()
                choice = (await reply.json())["choices"][0]
                assert len(choice["token_ids"]) == len(choice["logprobs"]["token_logprobs"])

        await asyncio.gather(*(one() for _ in range(20)))
        # A step of the trainer: the rollouts of that time are kept, and end after it.
        await asyncio.to_thread(served.pause)
        kept = asyncio.gather(*(one() for _ in range(4)))
        await asyncio.sleep(0.3)
        assert not kept.done()
        await asyncio.to_thread(served.resume)
        await kept
        weights = FastgenWeights(url)
        before = await asyncio.to_thread(weights.fastgen.weight_version)
        for call in (weights.init_weight_transfer, weights.pause, lambda: weights.send_weights(checkpoint()), weights.resume):
            await asyncio.to_thread(call)
        assert await asyncio.to_thread(weights.fastgen.weight_version) != before
        await asyncio.to_thread(weights.destroy)


asyncio.run(async_rollouts())
assert client.chat(conversations, n=2, max_tokens=4, temperature=0)["completion_ids"] == greedy["completion_ids"]
print("trl", "done")
