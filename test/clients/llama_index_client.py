"""LlamaIndex's OpenAILike: chat and completion, whole and streamed, sync and async."""

import asyncio
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

url, model = sys.argv[1:3]
options = {"model": model, "api_base": f"{url}/v1", "api_key": "none", "temperature": 0, "max_tokens": 12, "max_retries": 0}
chat = OpenAILike(is_chat_model=True, **options)
messages = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello.")]

whole = chat.chat(messages)
assert whole.message.content
assert list(chat.stream_chat(messages))[-1].message.content == whole.message.content
assert chat.complete("Say hello.").text

plain = OpenAILike(is_chat_model=False, **options)
text = plain.complete("One, two,").text
assert text and list(plain.stream_complete("One, two,"))[-1].text == text

options = {**options, "logprobs": True, "top_logprobs": 2, "additional_kwargs": {"seed": 5, "stop": ["\n"], "user": "ann"}}
scored = OpenAILike(is_chat_model=True, **options).chat(messages)
assert len(scored.logprobs) > 0 and len(scored.logprobs[0]) == 2, scored.logprobs
assert scored.additional_kwargs["completion_tokens"] == len(scored.logprobs)


async def several():
    replies = await asyncio.gather(*(chat.achat(messages) for _ in range(4)))
    assert {reply.message.content for reply in replies} == {whole.message.content}


asyncio.run(several())
print("llama-index", "done")
