"""Answers: texts, ids, log probabilities, pieces, many prompts, refusals."""

from __future__ import annotations

import asyncio
import inspect
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, AsyncIterator, Iterator

import pytest

from fastgen import AsyncFastgen, Fastgen, RequestError, Result, StartError, StoppedError

from .conftest import until

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}


def test_ids_and_logprobs_come_with_a_text(fastgen: Fastgen) -> None:
    answer = fastgen.generate("hello there", logprobs=2, prompt_logprobs=0, n=2, **GREEDY)
    assert len(answer.choices) == 2
    assert len(answer.token_ids) == 8 == len(answer.logprobs or [])
    assert (answer.prompt_tokens, answer.completion_tokens) == (len(answer.prompt_token_ids), 16)
    for choice in answer.choices:
        assert choice.finish_reason == "length" and choice.stop_reason is None
        assert choice.top_logprobs is not None and choice.logprobs is not None
        for token, logprob, top in zip(choice.token_ids, choice.logprobs, choice.top_logprobs):
            # Greedy: the token is the most probable of the two that are named.
            assert len(top) == 2 and max(top, key=lambda other: top[other]) == token and top[token] == logprob < 0
    prompt_logprobs = answer.choices[0].prompt_logprobs
    assert prompt_logprobs is not None and prompt_logprobs[0] is None
    for token, entry in zip(answer.prompt_token_ids[1:], prompt_logprobs[1:]):
        assert entry is not None and entry[token] < 0


def test_ids_as_a_prompt_are_the_text_that_they_stand_for(fastgen: Fastgen) -> None:
    numpy = pytest.importorskip("numpy")
    by_text = fastgen.generate("hello there", **GREEDY)
    for ids in (by_text.prompt_token_ids, tuple(by_text.prompt_token_ids), numpy.array(by_text.prompt_token_ids)):
        assert fastgen.generate(ids, **GREEDY).token_ids == by_text.token_ids


def test_chat_answers_with_the_logprobs_of_generate(fastgen: Fastgen) -> None:
    answer = fastgen.chat(QUESTION, logprobs=1, temperature=0)
    assert answer.text == "17 + 25 = 42."
    assert answer.choices[0].finish_reason == "stop"
    same = fastgen.generate(answer.prompt_token_ids, logprobs=1, temperature=0, max_tokens=100)
    assert same.token_ids == answer.token_ids
    assert same.logprobs == pytest.approx(answer.logprobs, abs=1e-5)
    tops = zip(same.choices[0].top_logprobs or [], answer.choices[0].top_logprobs or [], strict=True)
    assert all(one == pytest.approx(other, abs=1e-5) for one, other in tops)


def test_stop_reason_is_what_ended_the_answer(fastgen: Fastgen) -> None:
    answer = fastgen.chat(QUESTION, temperature=0, stop=["= "])
    assert (answer.text, answer.choices[0].stop_reason) == ("17 + 25 ", "= ")


@pytest.mark.parametrize("prompt", ["hello there", [875, 712], QUESTION])
def test_pieces_make_up_the_answer(fastgen: Fastgen, prompt: Any) -> None:
    whole = fastgen.chat(prompt, logprobs=0, **GREEDY) if prompt is QUESTION else fastgen.generate(prompt, logprobs=0, **GREEDY)
    pieces = list(fastgen.stream(prompt, logprobs=0, **GREEDY))
    assert len(pieces) > 1  # the server joins tokens where it is behind
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
    logprobs = [value for piece in pieces for value in piece.logprobs or []]
    assert logprobs == pytest.approx(whole.logprobs, abs=1e-5)
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [whole.choices[0].finish_reason]


def test_a_stream_is_cut_at_line_feeds_alone(fastgen: Fastgen) -> None:
    text = "one\u2028two\x85three\nfour"
    pieces = fastgen.stream("hello", structured_outputs={"choice": [text]}, max_tokens=100)
    assert "".join(piece.text for piece in pieces) == text


def running(fastgen: Fastgen) -> int:
    return int(fastgen.request("GET", "/load")["server_load"])


def test_a_stream_that_is_left_ends_on_the_server(fastgen: Fastgen) -> None:
    stream = fastgen.stream("Once", max_tokens=900, ignore_eos=True)
    next(stream)
    assert running(fastgen) == 1
    del stream
    until(lambda: running(fastgen) == 0)


def test_refusals_name_the_field(fastgen: Fastgen) -> None:
    with pytest.raises(RequestError, match="max_tokens") as refused:
        fastgen.generate("x", max_tokens=-5)
    assert (refused.value.status, refused.value.param) == (400, "max_tokens")
    with pytest.raises(RequestError, match="max_tokens"):
        list(fastgen.stream("x", max_tokens=-5))
    with pytest.raises(RequestError) as absent:
        fastgen.request("GET", "/nothing/here")
    assert absent.value.status == 404
    with pytest.raises(TypeError, match="generate_all"):
        fastgen.generate(["two", "prompts"])  # type: ignore[list-item]


def test_many_prompts_of_every_kind_and_one_that_fails(fastgen: Fastgen) -> None:
    prompts: list[Any] = ["hello there", [875, 712], QUESTION, "word " * 5000]
    results = {result.index: result for result in fastgen.generate_all(prompts, concurrency=2, **GREEDY)}
    assert sorted(results) == [0, 1, 2, 3]
    first, second = results[0].completion, results[1].completion
    assert first is not None and second is not None and first.token_ids == second.token_ids
    assert results[2].completion is not None and results[2].error is None
    error = results[3].error
    assert results[3].completion is None and isinstance(error, RequestError) and error.code == "context_length_exceeded"


def test_an_endless_input_is_read_as_results_are_taken(fastgen: Fastgen) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"say {read}"

    results = fastgen.generate_all(endless(), concurrency=4, max_tokens=2)
    taken = [next(results) for _ in range(20)]
    assert len({result.index for result in taken}) == 20
    # Those that run, those that wait to be taken, and the one that is being read.
    assert read <= 20 + 4 + 4 + 1
    results.close()  # type: ignore[attr-defined]
    stopped_at = read
    until(lambda: running(fastgen) == 0)
    assert read == stopped_at


def test_an_input_may_ask_the_model_itself_and_its_error_is_raised(fastgen: Fastgen) -> None:
    def prompts() -> Iterator[str]:
        yield fastgen.generate("hello", **GREEDY).text
        raise LookupError("no more data")

    results = fastgen.generate_all(prompts(), concurrency=3, **GREEDY)
    with pytest.raises(LookupError, match="no more data"):
        list(results)


def test_asyncio_over_the_same_server(fastgen: Fastgen) -> None:
    assert fastgen.server is not None
    client = AsyncFastgen(url=fastgen.url, api_key=fastgen.server.api_key)

    async def prompts() -> AsyncIterator[str]:
        for i in range(10):
            await asyncio.sleep(0)
            yield f"say {i}"

    async def ask() -> list[Result]:
        one, other = await asyncio.gather(client.generate("hello", **GREEDY), client.chat(QUESTION, **GREEDY))
        assert one.token_ids and other.text.startswith("17")
        # A blocking client in a loop that runs, as in a notebook.
        assert fastgen.chat(QUESTION, **GREEDY).text == other.text
        pieces = [piece async for piece in client.stream(QUESTION, **GREEDY)]
        assert "".join(piece.text for piece in pieces) == other.text
        return [result async for result in client.generate_all(prompts(), max_tokens=2)]

    # One client in two loops, one after the other.
    for _ in range(2):
        assert len(asyncio.run(ask())) == 10


def test_a_request_that_is_cancelled_ends_on_the_server(fastgen: Fastgen) -> None:
    assert fastgen.server is not None
    client = AsyncFastgen(url=fastgen.url, api_key=fastgen.server.api_key)

    async def ask() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.generate("Once", n=8, max_tokens=1000, ignore_eos=True), 0.2)
        deadline = asyncio.get_running_loop().time() + 30
        while (await client.request("GET", "/load"))["server_load"] > 0:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)

    asyncio.run(ask())


def test_a_wrong_key_and_a_server_that_is_not_there() -> None:
    with Fastgen(device="cpu", progress=None) as own:
        with pytest.raises(RequestError) as refused:
            Fastgen(url=own.url, api_key="wrong").generate("x")
        assert refused.value.status == 401
        url = own.url
    with pytest.raises(StartError, match=f"no answer from {url}: .*Start a server there"):
        Fastgen(url=url)
    with pytest.raises(StoppedError, match=f"no answer from {url}"):
        asyncio.run(AsyncFastgen(url=url).generate("x"))
    for wrong in ["localhost:5678", "ftp://localhost", "http://", ""]:
        with pytest.raises(ValueError, match="url must be a server's address, such as http://localhost:5678"):
            Fastgen(url=wrong)
    with pytest.raises(StoppedError, match="stopped"):
        own.generate("x")
    with pytest.raises(TypeError, match="no flags"):
        Fastgen(url=url, max_model_len=5)


class _Loading(BaseHTTPRequestHandler):
    """A server whose model is there after two looks at it."""

    looks = 0

    def do_GET(self) -> None:
        type(self).looks += 1
        ready = type(self).looks > 2
        body = b"{}" if ready else b'{"error": {"message": "the model is loading: 50%; try later"}}'
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_a_server_of_somebody_else_is_waited_for_while_its_model_loads() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Loading)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(StartError, match=f"{url} was not ready after 0 seconds: the model is loading"):
            Fastgen(url=url, start_timeout=0)
        shown: list[str] = []
        _Loading.looks = 1
        assert Fastgen(url=f"{url}/v1/", progress=shown.append).url == url
        assert shown == [f"{url}: the model is loading: 50%", ""]
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_no_prompt_is_said_at_once(fastgen: Fastgen) -> None:
    for wrong in [None, "a text", {"role": "user"}, 7]:
        with pytest.raises(TypeError, match="prompts must be an iterable of prompts, not"):
            fastgen.generate_all(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="concurrency must be a whole number of at least 1, not 0"):
        fastgen.generate_all([], concurrency=0)
    # Ray streams what an async generator yields, and knows it by its kind of function.
    assert inspect.isasyncgenfunction(AsyncFastgen.generate_all) and inspect.isasyncgenfunction(AsyncFastgen.stream)
    with pytest.raises(TypeError, match="a prompt is a text or a list of token ids, not NoneType"):
        fastgen.generate(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a conversation is a list of messages"):
        fastgen.chat("Hello")  # type: ignore[arg-type]
    results = sorted(fastgen.generate_all([None, "hello", [None]], max_tokens=1), key=lambda result: result.index)  # type: ignore[list-item]
    assert [result.completion is not None for result in results] == [False, True, False]
    assert all(isinstance(results[i].error, TypeError) for i in (0, 2))
