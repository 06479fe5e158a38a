"""LiteLLM, as a program uses it: two of its providers, streams, several calls at once, and its mapping of errors."""

import asyncio
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

url, model = sys.argv[1:3]
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]

for provider in ("openai", "hosted_vllm"):
    options = {"model": f"{provider}/{model}", "api_base": f"{url}/v1", "api_key": "none", "num_retries": 0}
    whole = litellm.completion(messages=messages, temperature=0, max_tokens=12, seed=7, **options)
    stream = litellm.completion(
        messages=messages, temperature=0, max_tokens=12, stream=True, stream_options={"include_usage": True}, **options
    )
    pieces = list(stream)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text.strip() == whole.choices[0].message.content.strip(), (text, whole)
    assert litellm.stream_chunk_builder(pieces).usage.completion_tokens == whole.usage.completion_tokens
    batch = litellm.batch_completion(messages=[messages] * 4, max_tokens=4, **options)
    assert all(reply.usage.completion_tokens <= 4 for reply in batch), batch
    try:
        litellm.completion(messages=[{"role": "user", "content": "word " * 100_000}], **options)
        raise AssertionError("a prompt past the context was taken")
    except litellm.ContextWindowExceededError as error:
        assert "maximum context length" in str(error)
    try:
        litellm.completion(messages=messages, top_p=7, **options)
        raise AssertionError("top_p 7 was taken")
    except litellm.BadRequestError as error:
        assert not isinstance(error, litellm.ContextWindowExceededError) and "top_p" in str(error)



async def asynchronously():
    """Through a router, as LiteLLM's proxy does it, with fields of other providers that it passes on."""
    parameters = {"model": f"hosted_vllm/{model}", "api_base": f"{url}/v1", "api_key": "none"}
    router = litellm.Router([{"model_name": "tiny", "litellm_params": parameters}], num_retries=0)
    replies = await asyncio.gather(
        *(router.acompletion("tiny", messages, max_tokens=4, seed=i, top_k=5, user="ann") for i in range(4))
    )
    assert all(reply.usage.completion_tokens <= 4 for reply in replies)
    extra = {"min_p": 0.1, "ignore_eos": True, "min_tokens": 4, "cache_control": {"type": "ephemeral"}}
    stream = await router.acompletion("tiny", messages, max_tokens=4, stream=True, extra_body=extra)
    assert [piece async for piece in stream][-1].choices[0].finish_reason == "length"


asyncio.run(asynchronously())
legacy = litellm.text_completion(
    model=f"text-completion-openai/{model}", api_base=f"{url}/v1", api_key="none", prompt="One, two,", max_tokens=4
)
assert legacy.choices[0].text
print("litellm", "done")
