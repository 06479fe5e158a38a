"""What the scripts that make golden data share: loading a model, its logits, and measures of error."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

torch.set_grad_enabled(False)
logging.disable_progress_bar()


def load(directory, dtype):
    """The model as transformers runs it in `dtype`: plain attention, rotary angles and softmax in float32."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager", local_files_only=True)
    return model.eval()


def logits_of(model, ids):
    """Logits at every position, computed in one pass without a cache: float32 [len(ids)][vocab_size]."""
    return model(input_ids=torch.tensor([list(map(int, ids))]), use_cache=False).logits[0].float().cpu().numpy()


def greedy(model, prompt, count):
    """Continues `prompt` by `count` greedy tokens, past stop tokens too. Returns the ids and the top-2 gap for each."""
    ids, gaps, cache = [], [], None
    step = torch.tensor([list(map(int, prompt))])
    for _ in range(count):
        out = model(input_ids=step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        top = torch.topk(out.logits[0, -1].float(), 2)
        ids.append(int(top.indices[0]))
        gaps.append(float(top.values[0] - top.values[1]))
        step = torch.tensor([[ids[-1]]])
    return np.array(ids, np.int32), np.array(gaps, np.float32)


def gap(logits):
    """For each row, how far the largest value is above the second."""
    top = np.partition(logits, -2, axis=-1)[:, -2:]
    return (top[:, 1] - top[:, 0]).astype(np.float32)


def logsumexp(logits):
    high = logits.max(-1, keepdims=True)
    return (high[:, 0] + np.log(np.exp((logits - high).astype(np.float64)).sum(-1))).astype(np.float32)


def relative_error(got, want):
    """For each row, the norm of the difference divided by the norm of what is wanted."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    return (np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)).astype(np.float32)


def largest_error(got, want):
    """For each row, the largest absolute difference. Low precision can move two logits apart by twice that."""
    return np.abs(got - want).max(-1).astype(np.float32)
