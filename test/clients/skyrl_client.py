"""SkyRL's client of inference servers, from its own files: rollouts, Tinker's samples, pause and resume, sleep and wake-up."""

import asyncio
import importlib.util
import sys
import types

url, model = sys.argv[1:3]

root = importlib.util.find_spec("skyrl").submodule_search_locations[0]
# Its packages would import the trainers, which need torch: they are found by their folders, and only the client's files run.
for package in ("backends", "backends.skyrl_train", "backends.skyrl_train.inference_servers", "backends.skyrl_train.utils"):
    module = sys.modules[f"skyrl.{package}"] = types.ModuleType(f"skyrl.{package}")
    module.__path__ = [f"{root}/{package.replace('.', '/')}"]
from skyrl.backends.skyrl_train.inference_servers.remote_inference_client import PauseMode, RemoteInferenceClient  # noqa: E402

GREEDY = {"temperature": 0.0, "max_tokens": 24, "logprobs": 0}


async def main():
    async with RemoteInferenceClient(proxy_url=url, server_urls=[url], data_parallel_size=1, model_name=model) as client:
        assert await client.get_world_size() == (1, 1)
        ids = (await client.tokenize(["What is 17 + 25?"]))[0]
        assert await client.detokenize([ids]) == ["What is 17 + 25?"]
        chat = {"messages": [{"role": "user", "content": "What is 17 + 25?"}], "temperature": 0, "max_tokens": 24}
        answer = (await client.chat_completion({"json": chat}))["choices"][0]["message"]["content"]
        assert "42" in answer

        # As its generators send them: what vLLM's sampling parameters are filled with.
        params = {**GREEDY, "min_tokens": 1, "skip_special_tokens": True, "include_stop_str_in_output": True}
        params |= {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "stop": None}
        batch = {"prompt_token_ids": [ids, ids[:3]], "sampling_params": params, "session_ids": ["a", "b"]}
        rollouts = await client.generate(batch)
        for tokens, logprobs in zip(rollouts["response_ids"], rollouts["response_logprobs"]):
            assert len(tokens) == len(logprobs) > 0
        assert set(rollouts["stop_reasons"]) <= {"stop", "length"}
        prompt = {"chunks": [{"type": "encoded_text", "tokens": ids}]}
        sampling = {"temperature": 0.7, "max_tokens": 4, "seed": 5, "top_k": 20}
        asked = {"prompt": prompt, "num_samples": 3, "sampling_params": sampling, "include_prompt_logprobs": True}
        samples = await client.sample({"json": asked})
        assert len(samples["sequences"]) == 3 and len(samples["prompt_logprobs"]) == len(ids)
        assert samples["prompt_logprobs"][0] is None and all(value <= 0 for value in samples["prompt_logprobs"][1:])

        # Answers wait while generation is paused, and go on as if nothing had been.
        for mode in (PauseMode.KEEP, PauseMode.WAIT):
            await client.pause(mode)
            waiting = asyncio.create_task(client.generate(batch))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            await client.resume()
            assert (await waiting)["response_ids"] == rollouts["response_ids"]
        await client.reset_prefix_cache()
        await client.sleep(level=1)
        await client.wake_up(tags=["weights", "kv_cache"])
        assert (await client.generate(batch))["response_ids"] == rollouts["response_ids"]

        # Weights by NCCL or as pickled handles are refused, and the refusal says what there is instead.
        for sent in (client.start_weight_update(), client.update_named_weights({"names": [], "dtype_names": [], "shapes": []})):
            try:
                await sent
                raise SystemExit("weights were taken that nobody sent")
            except Exception as error:
                assert "weight_dir" in str(error), error
    print("skyrl", "done")


asyncio.run(main())
