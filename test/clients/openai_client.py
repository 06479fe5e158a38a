"""OpenAI's own client: every call of chat, completions and models, whole and streamed, sync and async, and its errors."""

import asyncio
import sys

import openai

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
messages = [{"role": "user", "content": "What is the capital of France?"}]

# A whole reply and its pieces are the same text.
whole = client.chat.completions.create(model=model, messages=messages, temperature=0, max_completion_tokens=16)
assert whole.choices[0].message.content and whole.usage.completion_tokens > 0
chunks = list(
    client.chat.completions.create(
        model=model,
        messages=messages,
        temperature=0,
        max_completion_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == whole.choices[0].message.content, text
assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens

# Every optional field at a value that a client sends by default.
full = client.chat.completions.create(
    model=model,
    messages=[
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "operator"},
        {"role": "user", "content": "Hi", "name": "ann"},
        {"role": "assistant", "content": "Hello!", "refusal": None, "audio": None, "tool_calls": None},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "you?"}]},
    ],
    frequency_penalty=0,
    presence_penalty=0,
    logit_bias={},
    logprobs=True,
    top_logprobs=3,
    max_completion_tokens=8,
    metadata={"run": "1"},
    n=2,
    parallel_tool_calls=True,
    prompt_cache_key="a",
    reasoning_effort="low",
    response_format={"type": "text"},
    safety_identifier="b",
    seed=2**62 + 1,
    service_tier="auto",
    stop=["\n\n"],
    store=False,
    temperature=0.7,
    tool_choice="none",
    top_p=0.9,
    user="ann",
    verbosity="medium",
    extra_body={"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.05, "best_of": None, "guided_json": None},
)
assert len(full.choices) == 2
assert all(len(token.top_logprobs) == 3 for token in full.choices[0].logprobs.content)

# Completions: several prompts, the echo with its log probabilities, token ids.
several = client.completions.create(model=model, prompt=["One, two,", "A, B,"], max_tokens=4, temperature=0, n=1)
assert [choice.index for choice in several.choices] == [0, 1]
echo = client.completions.create(model=model, prompt="One, two, three", max_tokens=1, echo=True, logprobs=1).choices[0]
assert echo.text.startswith("One, two, three")
for offset, token in zip(echo.logprobs.text_offset, echo.logprobs.tokens):
    assert echo.text[offset:].startswith(token), (offset, token)
ids = client.post("/../tokenize", body={"prompt": "One, two,"}, cast_to=object)["tokens"]
assert client.completions.create(model=model, prompt=ids, max_tokens=4, temperature=0).choices[0].text == several.choices[0].text
streamed = client.completions.create(model=model, prompt="One, two,", max_tokens=4, temperature=0, stream=True)
assert "".join(chunk.choices[0].text for chunk in streamed) == several.choices[0].text

# The other ways to ask: the raw reply, the helpers for streams and for parsed replies.
raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, max_tokens=4, temperature=0)
assert raw.headers["x-request-id"] and raw.parse()._request_id == raw.headers["x-request-id"]
with client.chat.completions.with_streaming_response.create(model=model, messages=messages, max_tokens=4) as reply:
    assert reply.parse().choices[0].message.role == "assistant"
with client.chat.completions.stream(model=model, messages=messages, temperature=0, stop=".") as stream:
    kinds = {event.type for event in stream}
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "stop" and final.message.content
parsed = client.chat.completions.parse(model=model, messages=messages, temperature=0, stop=".", n=2)
assert len(parsed.choices) == 2 and parsed.choices[0].message.parsed is None

# Models.
assert model in [entry.id for entry in client.models.list()]
assert client.models.retrieve(model).id == model


# Errors have the classes and the codes that programs look for.
def refused(kind, call):
    try:
        call()
    except kind as error:
        assert error.body and error.body["message"], error
        return error
    raise AssertionError(f"no {kind.__name__}")


def chat(**fields):
    return client.chat.completions.create(**{"model": model, "messages": messages, **fields})


long = refused(openai.BadRequestError, lambda: chat(messages=[{"role": "user", "content": "word " * 100_000}]))
assert long.code == "context_length_exceeded" and "This model's maximum context length is " in long.message, long
wrong = refused(openai.BadRequestError, lambda: chat(temperature=-1))
assert wrong.param == "temperature", wrong
refused(openai.BadRequestError, lambda: chat(modalities=["audio"]))
refused(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
refused(openai.NotFoundError, lambda: client.embeddings.create(model=model, input="a"))


async def concurrent():
    asynchronous = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    replies = await asyncio.gather(
        *(
            asynchronous.chat.completions.create(model=model, messages=messages, max_tokens=8, seed=seed)
            for seed in range(16)
        )
    )
    assert all(reply.usage.completion_tokens <= 8 for reply in replies)
    stream = await asynchronous.chat.completions.create(model=model, messages=messages, max_tokens=200, stream=True)
    async for _ in stream:
        break
    await stream.close()


asyncio.run(concurrent())
print("openai", openai.__version__)
