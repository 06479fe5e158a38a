"""A stage of Ray Data: rows with prompts in, the same rows with answers out."""

from __future__ import annotations

import math
import os
from typing import Any, Mapping

import numpy as np

from .answers import Completion
from .async_client import AnyPrompt
from .bodies import request_of
from .errors import RequestError
from .many import complete_all
from .ray_worker import WorkerFastgen

#: The columns that a stage adds, beside `logprobs` where they are asked for.
ANSWER = ("text", "token_ids", "finish_reason", "prompt_tokens", "completion_tokens", "error")

Batch = Mapping[str, "np.ndarray[Any, Any]"]


class FastgenStage:
    """For Dataset.map_batches: `ds.map_batches(FastgenStage, fn_constructor_kwargs={"model": ...}, batch_size=64, concurrency=2)`.

    Each replica has a server of its own. A replica that ends, or whose server does, is replaced by Ray, and its batches are
    answered again.

    column: holds each row's prompt: a text, token ids, or a conversation. Default: `messages` if there is such a column, else
    `prompt`.
    params: the fields of all requests (docs/api.md). A row's own, in its column `params` if there is one, go before them.
    A row that is refused has its reason in `error`, and null in the other columns that are added; `error` is else null.
    With `n`, a row becomes as many rows.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        column: str | None = None,
        params: Mapping[str, Any] | None = None,
        executable: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        **flags: Any,
    ) -> None:
        self._column = column
        self._params = dict(params or {})
        self._fastgen = WorkerFastgen(model, executable=executable, env=env, **flags)

    async def __call__(self, batch: Batch) -> dict[str, Any]:
        column = self._column or ("messages" if "messages" in batch else "prompt")
        if column not in batch:
            raise ValueError(f"there is no column '{column}' among {sorted(batch)}: name the prompts' by column=")
        prompts = cells(batch[column])
        params = [fields or {} for fields in cells(batch["params"])] if "params" in batch else [{}] * len(prompts)
        answers: list[list[dict[str, Any]]] = [[] for _ in prompts]
        requests = list(zip(prompts, params))
        async for result in complete_all(requests, max(1, len(requests)), self._complete):
            if isinstance(result.error, (RequestError, TypeError)):
                answers[result.index] = [{**dict.fromkeys(ANSWER), "error": str(result.error)}]
            elif result.error is not None:
                raise result.error
            else:
                assert result.completion is not None
                answers[result.index] = answer_rows(result.completion)
        rows = [i for i, choices in enumerate(answers) for _ in choices]
        added = [choice for choices in answers for choice in choices]
        names = dict.fromkeys(name for choice in added for name in choice)
        kept = {name: cells(values[rows]) if values.dtype == object else values[rows] for name, values in batch.items()}
        return {**kept, **{name: [choice.get(name) for choice in added] for name in names}}

    async def _complete(self, request: tuple[AnyPrompt, Mapping[str, Any]]) -> Completion:
        prompt, params = request
        path, body = request_of(prompt, {**self._params, **params})
        return await self._fastgen._complete(path, body)


def answer_rows(completion: Completion) -> list[dict[str, Any]]:
    """What each choice adds to its row."""
    rows = []
    for choice in completion.choices:
        row = {
            "text": choice.text,
            "token_ids": choice.token_ids,
            "finish_reason": choice.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": len(choice.token_ids),
            "error": None,
        }
        rows.append(row if choice.logprobs is None else {**row, "logprobs": choice.logprobs})
    return rows


def cells(column: np.ndarray[Any, Any]) -> list[Any]:
    """A column's cells as JSON has them. A row that lacks the field has null there, for which Ray's reader of JSON gives NaN."""
    return [None if isinstance(value, float) and math.isnan(value) else plain(value) for value in column]


def plain(value: Any) -> Any:
    """A cell of a batch as JSON has it. Fields that are null stand for fields that other rows have: they are left out."""
    if isinstance(value, Mapping):
        return {name: plain(field) for name, field in value.items() if field is not None}
    if isinstance(value, (np.ndarray, list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
