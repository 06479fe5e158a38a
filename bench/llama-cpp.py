"""
llama.cpp for bench/cpu.ts: a process that reads one JSON request per line and answers each with one line. It keeps the
model, and a context for each setting and number of sequences, and sleeps between requests. bench/build-llama-cpp.sh
makes the Python to run it with.

    python llama-cpp.py MODEL.gguf THREADS CONTEXT      (most tokens of a sequence)

Its first line describes the build: {"version", "flags", "system"}. Each request
{"prompts": [[ids]], "count": n, "setting": {"batch", "ubatch", "flash"}} evaluates all prompts together, then continues
each by n greedy tokens: {"prefillSeconds", "decodeSeconds", "ids": [[ids]]}.
"""
import json
import os
import sys
import time

import llama_cpp as lib
import numpy as np
from llama_cpp._logger import set_verbose

MODEL, THREADS, CONTEXT = sys.argv[1], *map(int, sys.argv[2:])


class Runner:
    """A context for a number of sequences, and the batch that feeds it."""

    def __init__(self, model, setting, sequences):
        params = lib.llama_context_default_params()
        params.n_ctx = sequences * CONTEXT
        params.n_seq_max = sequences
        params.n_batch = setting["batch"]
        params.n_ubatch = setting["ubatch"]
        params.flash_attn_type = int(setting["flash"])
        params.n_threads = params.n_threads_batch = THREADS
        self.context = lib.llama_init_from_model(model, params)
        if not self.context:
            sys.exit(f"llama.cpp made no context for {setting}")
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self.size = setting["batch"]
        self.batch = lib.llama_batch_init(self.size, 0, 1)

    def decode(self, rows, logits):
        """Computes (token, position, sequence) rows, at most `size`; keeps the logits of all or of none."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        if lib.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")

    def argmax(self, row):
        logits = lib.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(logits, (self.vocab,)).argmax())

    def run(self, prompts, count):
        lib.llama_memory_clear(lib.llama_get_memory(self.context), False)
        start = time.perf_counter()
        # The first new token is sampled from the last one of a prompt: that one belongs to decoding.
        rows = [(token, at, seq) for seq, prompt in enumerate(prompts) for at, token in enumerate(prompt[:-1])]
        for at in range(0, len(rows), self.size):
            self.decode(rows[at : at + self.size], False)
        middle = time.perf_counter()
        ids = [[] for _ in prompts]
        last = [prompt[-1] for prompt in prompts]
        for step in range(count):
            self.decode([(last[seq], len(prompt) - 1 + step, seq) for seq, prompt in enumerate(prompts)], True)
            last = [self.argmax(row) for row in range(len(prompts))]
            for sequence, token in zip(ids, last):
                sequence.append(token)
        end = time.perf_counter()
        return {"prefillSeconds": middle - start, "decodeSeconds": end - middle, "ids": ids}


def answer(value):
    print(json.dumps(value), flush=True)


def main():
    set_verbose(False)  # errors only
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(MODEL.encode(), params)
    if not model:
        sys.exit(f"llama.cpp cannot load {MODEL}")
    with open(os.path.join(sys.prefix, "build-flags")) as file:
        flags = file.read().strip()
    answer({"version": lib.__version__, "flags": flags, "system": lib.llama_print_system_info().decode().strip()})
    runners = {}
    for line in sys.stdin:
        request = json.loads(line)
        setting, prompts = request["setting"], request["prompts"]
        key = json.dumps([setting, len(prompts)])
        if key not in runners:
            runners[key] = Runner(model, setting, len(prompts))
        answer(runners[key].run(prompts, request["count"]))


main()
