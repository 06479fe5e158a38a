"""verl's HTTP client of a running server, from its own file: health, models, and what it gets for SGLang's own routes."""

import asyncio
import importlib.util
import sys
import types
from urllib.parse import urlparse

url, model = sys.argv[1:3]


def stand_in(name, **members):
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__.update(members)


class ServerArgs(types.SimpleNamespace):
    """SGLang's arguments, as far as the client reads them."""


for package in ("sglang", "sglang.srt", "sglang.srt.entrypoints", "sglang.srt.managers"):
    stand_in(package)
stand_in("sglang.srt.entrypoints.EngineBase", EngineBase=object)
stand_in("sglang.srt.entrypoints.http_server", launch_server=None)
stand_in("sglang.srt.managers.io_struct", UpdateWeightsFromTensorReqInput=types.SimpleNamespace)
stand_in("sglang.srt.server_args", ServerArgs=ServerArgs)
stand_in("sglang.srt.utils", kill_process_tree=None)
root = importlib.util.find_spec("verl").submodule_search_locations[0]
path = f"{root}/workers/rollout/sglang_rollout/http_server_engine.py"
spec = importlib.util.spec_from_file_location("http_server_engine", path)
engine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(engine)


async def main():
    where = urlparse(url)
    client = engine.AsyncHttpServerAdapter(
        launch_server=False, host=where.hostname, port=where.port, node_rank=0, max_attempts=1
    )
    models = await client.available_models()
    assert models["data"][0]["id"] == model
    tensors = types.SimpleNamespace(serialized_named_tensors=[b""], load_format=None, flush_cache=True)
    params = {"max_new_tokens": 4, "ignore_eos": True}
    answer = await client.generate(input_ids=[1, 2, 3], sampling_params=params, return_logprob=True)
    probabilities = answer["meta_info"]["output_token_logprobs"]
    assert [token for _, token, _ in probabilities] == answer["output_ids"] and len(probabilities) == 4, answer
    assert answer["meta_info"]["finish_reason"]["type"] == "length", answer
    try:
        await client.update_weights_from_tensor(tensors)
        raise SystemExit("a route that is refused was answered")
    except Exception as error:
        assert "400" in str(error), error
    print("verl", "done")


asyncio.run(main())
