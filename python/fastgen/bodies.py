"""What is sent: prompts and parameters as bodies of requests."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Protocol, Sequence, Union, runtime_checkable


@runtime_checkable
class HasToList(Protocol):
    """An array of NumPy or PyTorch."""

    def tolist(self) -> Any: ...


Message = Mapping[str, Any]
Conversation = Sequence[Message]
#: A text, or its token ids.
Prompt = Union[str, Sequence[int], HasToList]


A_PROMPT = "a prompt is a text or a list of token ids"


def generate_body(prompt: Prompt, params: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /v1/completions."""
    if isinstance(prompt, HasToList):
        prompt = prompt.tolist()
    elif not isinstance(prompt, (str, Sequence)):
        raise TypeError(f"{A_PROMPT}, not {type(prompt).__name__}")
    elif not isinstance(prompt, str):
        # One list is one prompt: many prompts in one request would be answered all at once, the slowest last.
        prompt = list(prompt)
        if prompt and not all(hasattr(token, "__index__") for token in prompt):
            raise TypeError(f"{A_PROMPT}; many prompts go to generate_all")
        prompt = [int(token) for token in prompt]
    body = {"prompt": prompt, "return_token_ids": True, **params}
    if body.get("logprobs") is not None:
        body["return_tokens_as_token_ids"] = True
    return body


def chat_body(messages: Conversation, params: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /v1/chat/completions. `logprobs` may be a number here as well: of the most probable tokens to name."""
    listed = list(messages) if isinstance(messages, Iterable) else [messages]
    if not all(isinstance(message, Mapping) for message in listed):
        raise TypeError('a conversation is a list of messages, such as [{"role": "user", "content": "Hello"}]')
    body = {"messages": [dict(message) for message in listed], "return_token_ids": True, **params}
    count = body.get("logprobs")
    if isinstance(count, int) and not isinstance(count, bool):
        body["logprobs"] = True
        body.setdefault("top_logprobs", count)
    if body.get("logprobs"):
        body["return_tokens_as_token_ids"] = True
    return body


def request_of(prompt: Prompt | Conversation, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path and the body for a prompt, or for a conversation: messages, which are mappings."""
    if isinstance(prompt, Sequence) and len(prompt) > 0 and isinstance(prompt[0], Mapping):
        return "/v1/chat/completions", chat_body(prompt, params)  # type: ignore[arg-type]
    return "/v1/completions", generate_body(prompt, params)  # type: ignore[arg-type]
