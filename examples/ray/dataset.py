"""Ray Data: reads prompts from JSON lines, answers them with several servers, and writes Parquet files.

Run: python examples/ray/dataset.py IN.jsonl OUT_FOLDER [MODEL] [--replicas 2] [--gpus 0]
Each line is an object with `messages` or `prompt`; its other fields stay beside the answer.
"""

from __future__ import annotations

import argparse

import ray

from fastgen.ray import FastgenStage

parser = argparse.ArgumentParser()
parser.add_argument("input")
parser.add_argument("output")
parser.add_argument("model", nargs="?", help="a folder, or a name on the hub; default: the built-in model")
parser.add_argument("--replicas", type=int, default=2)
parser.add_argument("--gpus", type=int, default=0, help="of each replica; 0: it serves from one core of the CPU")
args = parser.parse_args()

flags = {"tensor_parallel_size": args.gpus} if args.gpus > 1 else {}
rows = ray.data.read_json(args.input, lines=True).map_batches(
    FastgenStage,
    fn_constructor_kwargs={"model": args.model, "params": {"max_tokens": 64, "temperature": 0}, **flags},
    # A replica has four batches at a time, so that its server always has enough to compute together.
    batch_size=64,
    concurrency=args.replicas,
    num_gpus=args.gpus,
    # Ray needs CPUs for the tasks that read and write, too.
    num_cpus=0.5,
)
rows.write_parquet(args.output)

answers = ray.data.read_parquet(args.output)
refused = answers.filter(lambda row: row["error"] is not None).count()
print(f"{answers.count()} answers, of which {refused} are errors, in {args.output}")
