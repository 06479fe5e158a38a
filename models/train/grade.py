"""Scores a model on the held-out cases, with greedy decoding. Conversations continue from the model's own answers."""

import re
from collections import defaultdict

import torch
from tokenizers import Tokenizer

from data import ASSISTANT, END, SYSTEM, USER
from haiku import is_haiku
from model import Llama

MOST_NEW_TOKENS = 96

# What a turn may expect of its answer: to end with a text, to contain it, or to be it, ignoring punctuation around it.
PATTERNS = {"ends": r"(?<![\w-]){}\W*$", "has": r"(?<!\w){}(?!\w)", "whole": r"^\W*{}\W*$"}


@torch.inference_mode()
def complete(model: Llama, prompts: list[list[int]], end: int, batch: int = 1024) -> list[list[int]]:
    """Greedy answers, without the end token. Runs the whole sequence again for each new token: the model is small."""
    out: list[list[int]] = [[] for _ in prompts]
    device = model.embed_tokens.weight.device
    by_length = sorted(range(len(prompts)), key=lambda k: len(prompts[k]))
    for start in range(0, len(by_length), batch):
        live = by_length[start : start + batch]
        longest = max(len(prompts[k]) for k in live) + MOST_NEW_TOKENS
        tokens = torch.zeros(len(live), longest, dtype=torch.long)
        for row, k in enumerate(live):
            tokens[row, : len(prompts[k])] = torch.tensor(prompts[k])
        tokens = tokens.to(device)
        length = torch.tensor([len(prompts[k]) for k in live], device=device)
        rows = torch.arange(len(live), device=device)
        done = torch.zeros(len(live), dtype=torch.bool, device=device)
        for _ in range(MOST_NEW_TOKENS):
            x = model.hidden(tokens[:, : int(length.max())])[rows, length - 1]
            new = model.logits(x).float().argmax(-1)
            tokens[rows, length] = torch.where(done, tokens[rows, length], new)
            done |= new == end
            length = torch.where(done, length, length + 1)
            if bool(done.all()):
                break
        for row, k in enumerate(live):
            out[k] = tokens[row, len(prompts[k]) : int(length[row])].tolist()
    return out


def right(turn: dict, answer: str) -> bool:
    """Whether `answer` is what the turn expects, ignoring case."""
    if "haiku" in turn:
        return is_haiku(answer)
    if "refuses" in turn:
        return re.search("^sorry, I .*add and subtract", answer, re.IGNORECASE) is not None
    kind = next(kind for kind in PATTERNS if kind in turn)
    return re.search(PATTERNS[kind].format(re.escape(turn[kind])), answer, re.IGNORECASE) is not None


def grade(
    model: Llama, tokenizer: Tokenizer, cases: list[dict], context: int = 1024
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Returns {task: (conversations right in every turn, all conversations)}, and a line for each wrong answer."""
    special = {token: tokenizer.token_to_id(token) for token in (SYSTEM, USER, ASSISTANT, END)}
    end = special[END]

    def encode(role: str, text: str) -> list[int]:
        return [special[role], *tokenizer.encode(text.strip()).ids, end]

    history = [encode(SYSTEM, case["system"]) if "system" in case else [] for case in cases]
    good, wrong = [True] * len(cases), []
    for at in range(max(len(case["turns"]) for case in cases)):
        live = [
            k
            for k, case in enumerate(cases)
            if at < len(case["turns"]) and len(history[k]) < context - 2 * MOST_NEW_TOKENS
        ]
        for k in live:
            history[k] += [*encode(USER, cases[k]["turns"][at]["user"]), special[ASSISTANT]]
        for k, ids in zip(live, complete(model, [history[k] for k in live], end)):
            answer = tokenizer.decode(ids)
            history[k] = history[k][:-1] + encode(ASSISTANT, answer)
            turn = cases[k]["turns"][at]
            if not right(turn, answer):
                good[k] = False
                wrong.append(f"{cases[k]['task']}, turn {at + 1}: {turn} → {answer!r}")
    scores: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case, ok in zip(cases, good):
        scores[case["task"]][0] += ok
        scores[case["task"]][1] += 1
    return {task: (a, n) for task, (a, n) in scores.items()}, wrong
