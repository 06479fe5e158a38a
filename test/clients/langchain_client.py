"""LangChain's ChatOpenAI and OpenAI: invoke, stream, batch, async, usage, log probabilities, and an overlong prompt."""

import asyncio
import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI

url, model = sys.argv[1:3]
chat = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=12, max_retries=0)
messages = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello!"), HumanMessage("Say hello again.")]

whole = chat.invoke(messages)
assert whole.content and whole.usage_metadata["output_tokens"] > 0
assert "".join(piece.content for piece in chat.stream(messages)) == whole.content
usage = [piece.usage_metadata for piece in chat.stream(messages, stream_usage=True) if piece.usage_metadata]
assert usage and usage[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]
assert len(chat.batch([messages] * 3)) == 3
chain = ChatPromptTemplate([("system", "Answer in {language}."), ("human", "{question}")]) | chat
assert chain.invoke({"language": "English", "question": "Who are you?"}).content
scored = chat.bind(logprobs=True, top_logprobs=2).invoke(messages)
assert len(scored.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 2

full = ChatOpenAI(
    model=model,
    base_url=f"{url}/v1",
    api_key="none",
    max_retries=0,
    max_tokens=8,
    n=2,
    top_p=0,
    seed=3,
    logprobs=True,
    top_logprobs=1,
    frequency_penalty=0,
    presence_penalty=0,
    logit_bias={},
    stop_sequences=["\n"],
    reasoning_effort="low",
    verbosity="low",
    service_tier="auto",
    store=False,
    metadata={"run": "1"},
    use_responses_api=False,
    include_response_headers=True,
    disabled_params={"parallel_tool_calls": None},
    model_kwargs={"user": "ann", "prompt_cache_key": "k", "safety_identifier": "s"},
    extra_body={"top_k": -1, "min_p": 0.0, "guided_decoding_backend": "auto"},
)
assert len(full.generate([messages]).generations[0]) == 2
# Contents as lists: bare strings, and what another provider's answer left in the history.
parts = HumanMessage(["And ", {"type": "text", "text": "you?", "cache_control": {"type": "ephemeral"}}])
assert chat.invoke([*messages, AIMessage([{"type": "text", "text": "Hm."}, {"type": "refusal", "refusal": "No."}]), parts])


async def several():
    replies = await asyncio.gather(*(chat.ainvoke(messages) for _ in range(8)))
    assert {reply.content for reply in replies} == {whole.content}
    assert "".join([piece.content async for piece in chat.astream(messages)]) == whole.content


asyncio.run(several())
completion = OpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=4, max_retries=0)
assert completion.invoke("One, two,") == "".join(completion.stream("One, two,"))
assert len(completion.generate(["One, two,", "A, B,"]).generations) == 2
try:
    chat.invoke("word " * 100_000)
    raise AssertionError("a prompt past the context was taken")
except openai.BadRequestError as error:
    assert "context_length" in str(error) or "maximum context length" in str(error), error
print("langchain-openai", "done")
