#!/usr/bin/env python3
"""
Makes smollm2.json and smollm2.safetensors: what transformers computes from a real model, SmolLM2-135M-Instruct, on the
CPU. The conversations go through the model's own chat template.

    python make_smollm2.py DIR/SmolLM2-135M-Instruct

smollm2.json has the conversations and the sha256 of the weights. smollm2.safetensors holds, for conversation i:
    i.prompt     int32 [P]         ids, generation prompt included
    i.greedy     int32 [64]        greedy continuation in float32, past stop tokens too
    i.gap        float32 [64]      how far the logit of each was above the second
    i.bf16_max   float32 [64]      naive bfloat16's largest absolute error over the vocabulary, for each greedy token
    i.columns    int32 [C]         vocabulary entries whose logits are kept: evenly spread ones, and the top 20 of each row
    i.logits     float32 [8][C]    logits at the last 8 positions of the prompt, in float32
    i.logsumexp  float32 [8]
    i.bf16_error float32 [8]       norm of naive bfloat16's error in those columns over the norm of the logits
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoTokenizer

import common

HERE = pathlib.Path(__file__).parent
NEW, LAST, SPREAD, TOP = 64, 8, 128, 20

CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Write a haiku about the sea."}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Name three colours."},
        {"role": "assistant", "content": "Red, green and blue."},
        {"role": "user", "content": "And which of them is the colour of grass?"},
    ],
    [{"role": "user", "content": "Übersetze ins Englische: «Die Straße führt über die Brücke.» 日本語も少し。 🌊"}],
    [
        {"role": "system", "content": "You are a careful editor. " + "Keep every fact, drop every needless word. " * 20},
        {
            "role": "user",
            "content": "Shorten this: "
            + " ".join(
                f"On day {day} the ship sailed {day * 17 % 90 + 10} miles, and the crew mended {day % 4 + 1} of the sails."
                for day in range(1, 13)
            ),
        },
    ],
]


def main(directory):
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    exact = common.load(directory, torch.float32)
    naive = common.load(directory, torch.bfloat16)
    tensors = {}
    for number, messages in enumerate(CONVERSATIONS):
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        ids, gap = common.greedy(exact, prompt, NEW)
        whole = [*prompt, *ids[:-1].tolist()]
        want, low = common.logits_of(exact, whole), common.logits_of(naive, whole)
        chosen = slice(len(prompt) - 1, None)
        assert (want[chosen].argmax(-1) == ids).all(), "the results with and without a cache differ"

        last = want[len(prompt) - LAST : len(prompt)]
        low_last = low[len(prompt) - LAST : len(prompt)]
        top = np.argpartition(last, -TOP, axis=-1)[:, -TOP:]
        columns = np.union1d(top.ravel(), np.linspace(0, last.shape[1] - 1, SPREAD).astype(int)).astype(np.int32)
        error = common.relative_error(low_last[:, columns], last[:, columns])
        parts = dict(
            prompt=np.array(prompt, np.int32), greedy=ids, gap=gap, bf16_max=common.largest_error(low, want)[chosen],
            columns=columns, logits=np.ascontiguousarray(last[:, columns]), logsumexp=common.logsumexp(last), bf16_error=error,
        )
        tensors |= {f"{number}.{name}": value for name, value in parts.items()}
        print(f"{len(prompt)} tokens, bf16 error {np.median(error):.4f}, smallest gap {gap.min():.4f}, naive bf16 keeps "
              f"{(low[chosen].argmax(-1) == ids).sum()}/{NEW}: {tokenizer.decode(ids)!r}", flush=True)

    save_file(tensors, HERE / "smollm2.safetensors")
    digest = hashlib.sha256((pathlib.Path(directory) / "model.safetensors").read_bytes()).hexdigest()
    facts = dict(model="HuggingFaceTB/SmolLM2-135M-Instruct", weights_sha256=digest, conversations=CONVERSATIONS)
    (HERE / "smollm2.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
