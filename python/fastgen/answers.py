"""What a server answers, as objects. `raw` is always the whole reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

Json = Mapping[str, Any]


@dataclass(frozen=True)
class WeightSpan:
    """From the output token at `start` on, tokens were computed with the weights that `version` names."""

    start: int
    version: str


@dataclass(frozen=True)
class Choice:
    """One answer."""

    index: int
    #: The text; of a chat without its reasoning, and "" where there are nothing but calls of tools.
    text: str
    token_ids: list[int]
    #: stop, length, tool_calls or abort.
    finish_reason: str | None
    #: The stop string or token id that ended it; None where the model ended it or it was cut off.
    stop_reason: str | int | None
    #: One log probability for each token id; None where they were not asked for.
    logprobs: list[float] | None = None
    #: For each token the most probable ones, by id.
    top_logprobs: list[dict[int, float]] | None = None
    #: One entry for each token of the prompt, the first None; None where they were not asked for.
    prompt_logprobs: list[dict[int, float] | None] | None = None
    reasoning: str | None = None
    #: As OpenAI has them: id, type and function (name, arguments as JSON text).
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    #: Which weights computed which tokens; empty where the server does not say.
    weight_versions: list[WeightSpan] = field(default_factory=list)


@dataclass(frozen=True)
class Completion:
    """The reply to one request: an answer for each of its `n`."""

    id: str
    choices: list[Choice]
    prompt_token_ids: list[int]
    prompt_tokens: int
    completion_tokens: int
    #: Names the weights that computed the end of the answer; None where the server does not say.
    weight_version: str | None
    raw: Json

    @property
    def text(self) -> str:
        """The first answer's text."""
        return self.choices[0].text

    @property
    def token_ids(self) -> list[int]:
        """The first answer's tokens."""
        return self.choices[0].token_ids

    @property
    def logprobs(self) -> list[float] | None:
        """The log probabilities of the first answer's tokens."""
        return self.choices[0].logprobs


@dataclass(frozen=True)
class Piece:
    """A part of a streamed answer. Its tokens may be more or fewer than its text: a token may be a part of a character."""

    #: Which of the `n` answers it belongs to.
    index: int
    text: str
    token_ids: list[int]
    logprobs: list[float] | None
    reasoning: str | None
    #: Parts of calls, as OpenAI streams them.
    tool_calls: list[dict[str, Any]]
    #: On the answer's last piece.
    finish_reason: str | None
    weight_version: str | None
    raw: Json


@dataclass(frozen=True)
class Result:
    """One prompt of many: its place among them, and either its completion or the error that it ended with."""

    index: int
    completion: Completion | None
    error: Exception | None


def read_completion(reply: Json) -> Completion:
    """A reply of /v1/completions or /v1/chat/completions."""
    choices = [_read_choice(reply, choice) for choice in reply["choices"]]
    # Chat has the prompt once, completions have it in each choice.
    prompt = reply.get("prompt_token_ids") or reply["choices"][0].get("prompt_token_ids") or []
    usage = reply.get("usage") or {}
    return Completion(
        id=reply["id"],
        choices=choices,
        prompt_token_ids=list(prompt),
        prompt_tokens=usage.get("prompt_tokens", len(prompt)),
        completion_tokens=usage.get("completion_tokens", sum(len(choice.token_ids) for choice in choices)),
        weight_version=reply.get("weight_version"),
        raw=reply,
    )


def _read_choice(reply: Json, choice: Json) -> Choice:
    message = choice.get("message") or {}
    logprobs, top_logprobs = _read_logprobs(choice.get("logprobs"))
    return Choice(
        index=choice["index"],
        text=(message.get("content") if "message" in choice else choice["text"]) or "",
        token_ids=list(choice.get("token_ids") or []),
        finish_reason=choice["finish_reason"],
        stop_reason=choice.get("stop_reason"),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        prompt_logprobs=_read_prompt_logprobs(choice.get("prompt_logprobs") or reply.get("prompt_logprobs")),
        reasoning=message.get("reasoning_content"),
        tool_calls=list(message.get("tool_calls") or []),
        weight_versions=_read_spans(choice.get("weight_versions") or reply.get("weight_versions")),
    )


def read_piece(frame: Json, choice: Json) -> Piece:
    """One choice of a frame of a stream."""
    delta = choice.get("delta") or {}
    return Piece(
        index=choice["index"],
        text=(delta.get("content") if "delta" in choice else choice["text"]) or "",
        token_ids=list(choice.get("token_ids") or []),
        logprobs=_read_logprobs(choice.get("logprobs"))[0],
        reasoning=delta.get("reasoning_content"),
        tool_calls=list(delta.get("tool_calls") or []),
        finish_reason=choice.get("finish_reason"),
        weight_version=frame.get("weight_version"),
        raw=frame,
    )


def _token_id(text: str) -> int:
    """5 of "token_id:5", which is how tokens are asked for."""
    return int(text.removeprefix("token_id:"))


def _read_logprobs(given: Json | None) -> tuple[list[float] | None, list[dict[int, float]] | None]:
    if given is None:
        return None, None
    if "token_logprobs" in given:
        top = [{_token_id(token): value for token, value in (entry or {}).items()} for entry in given["top_logprobs"] or []]
        return list(given["token_logprobs"]), top
    content = given.get("content") or []
    top = [{_token_id(other["token"]): other["logprob"] for other in entry.get("top_logprobs") or []} for entry in content]
    return [entry["logprob"] for entry in content], top


def _read_prompt_logprobs(given: list[Any] | None) -> list[dict[int, float] | None] | None:
    if given is None:
        return None
    return [entry and {int(token): value["logprob"] for token, value in entry.items()} for entry in given]


def _read_spans(given: list[Any] | None) -> list[WeightSpan]:
    return [WeightSpan(span["start"], str(span["version"])) for span in given or []]
