"""Trains the small chat model: python train.py --out DIR [--steps N] [--seconds S]

Other processes generate the data meanwhile (data.py), one fresh shard per step. Training takes minutes on a GPU, and much
longer without one. The script writes the model in Hugging Face's format, scores it as it ships (rounded to bf16) on the
held-out cases, and prints the scores.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import data
from grade import grade
from model import Config, Llama

HERE = Path(__file__).parent
_encoder: data.Encoder


def _start_worker(tokenizer: str) -> None:
    global _encoder
    _encoder = data.Encoder(Tokenizer.from_file(tokenizer))


def _make_shard(job: tuple[int, int, list[tuple[int, int]]]) -> list[np.ndarray]:
    return data.shard(_encoder, *job)


def save(model: Llama, directory: Path, tokenizer_directory: Path, end: int, pad: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(model.to_hf(), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(model.c.to_hf(pad, end), indent=2) + "\n")
    generation = {"do_sample": False, "temperature": 0.0, "eos_token_id": end, "pad_token_id": pad}
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if directory.resolve() != tokenizer_directory.resolve():
            shutil.copy(tokenizer_directory / name, directory / name)


def score(model: Llama, tokenizer: Tokenizer, device: str, most: int) -> str:
    """The report on the held-out cases, for the weights as they ship."""
    shipped = Llama(model.c)
    shipped.load_state_dict(model.state_dict())
    shipped = shipped.to(torch.bfloat16 if device == "cuda" else torch.float32).to(device).eval()
    for p, q in zip(shipped.parameters(), model.parameters()):
        p.data.copy_(q.data.to(torch.bfloat16))
    cases = json.loads((HERE / "heldout.json").read_text())["cases"]
    scores, wrong = grade(shipped, tokenizer, cases[:: max(1, len(cases) // most)])
    lines = [f"{task:28} {good:4} of {n:4}  {100 * good / n:5.1f} %" for task, (good, n) in scores.items()]
    return "\n".join([*wrong, "", *lines])


def train(args: argparse.Namespace) -> None:
    tokenizer_path = args.tokenizer / "tokenizer.json"
    shape = [(args.rows, 257), (args.rows // 16, data.CONTEXT + 1)]
    jobs = ((args.seed, number, shape) for number in range(args.steps))
    workers = multiprocessing.get_context("spawn").Pool(args.workers, _start_worker, (str(tokenizer_path),))
    shards = workers.imap(_make_shard, jobs, chunksize=2)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    pad, end = tokenizer.token_to_id(data.PAD), tokenizer.token_to_id(data.END)
    model = Llama(Config(vocab_size=data.VOCAB_SIZE, context=data.CONTEXT), args.seed).to(device)
    count = sum(p.numel() for p in model.parameters())
    versions = {"Python": platform.python_version(), "torch": torch.__version__}
    versions |= {"tokenizers": tokenizers.__version__, "numpy": np.__version__}
    machine = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{count:,} parameters, {2 * count:,} bytes; {versions}; {machine}")

    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=device == "cuda"),
    ]
    head = model.loss
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        for layer in model.layers:
            layer.compile(dynamic=False)
        head = torch.compile(model.loss, dynamic=False)

    started = saved = time.monotonic()
    tokens_seen, waited = 0, 0.0
    for step in range(args.steps):
        before = time.monotonic()
        rows = next(shards)
        waited += time.monotonic() - before
        # A cosine down to zero over the steps, or over the seconds if those run out first.
        progress = max(step / args.steps, (time.monotonic() - started) / args.seconds)
        if progress >= 1:
            break
        rate = args.lr * min(1.0, (step + 1) / args.warmup) * (0.5 + 0.5 * math.cos(math.pi * progress))
        batches = [torch.from_numpy(r).to(device).long() for r in rows]
        trained = sum(int((r[:, 1:] >= data.TRAINED).sum()) for r in rows)
        total = torch.zeros((), device=device)
        for batch in batches:
            tokens = batch & (data.TRAINED - 1)
            targets = torch.where(batch >= data.TRAINED, tokens, -100)[:, 1:].contiguous()
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = head(model.hidden(tokens[:, :-1].contiguous()), targets) / trained
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens_seen += sum(r.size for r in rows)
        now = time.monotonic()
        if step == 5:
            started, tokens_seen, waited = now, 0, 0.0  # compiled by now
        if step % args.show == 0:
            seconds = now - started
            speed = f"{tokens_seen / max(seconds, 1e-9) / 1e6:.2f} M tokens/s ({waited:.1f} s for data)"
            print(f"step {step:6} loss {total.item():.4f} {seconds:6.1f} s {speed}", flush=True)
        if now - saved > 60:
            save(model, args.out, args.tokenizer, end, pad)
            saved = now
    workers.terminate()
    print(
        f"{step + 1} steps, {tokens_seen:,} tokens, {time.monotonic() - started:.0f} s; last loss {total.item():.4f}",
        flush=True,
    )
    save(model, args.out, args.tokenizer, end, pad)
    report = score(model, tokenizer, device, args.most_cases)
    (args.out / "scores.txt").write_text(report + "\n")
    print(report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and scores.txt")
    parser.add_argument("--tokenizer", type=Path, default=HERE.parent / "fastgen-tiny", help="folder of tokenizer.json")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after this time, with a schedule shortened to fit")
    parser.add_argument(
        "--rows", type=int, default=384, help="conversations of 256 tokens in a step; a sixteenth as many of 1024"
    )
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=150, help="steps")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="processes that make data"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=200, help="steps between lines of progress")
    parser.add_argument("--most-cases", type=int, default=10**6, help="score at most about this many held-out cases")
    train(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
