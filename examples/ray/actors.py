"""Servers as actors: each Ray actor owns one, and each prompt goes to whichever is free.

Run: python examples/ray/actors.py [MODEL] [--replicas 2] [--gpus 0]
"""

from __future__ import annotations

import argparse

import ray
from ray.util import ActorPool

from fastgen.ray import FastgenActor

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", help="a folder, or a name on the hub; default: the built-in model")
parser.add_argument("--replicas", type=int, default=2)
parser.add_argument("--gpus", type=int, default=0, help="of each replica; 0: it serves from one core of the CPU")
args = parser.parse_args()

ray.init()
# A replica that dies is started anew, and what it was asked is asked again.
options = {"num_gpus": args.gpus, "num_cpus": 1, "max_restarts": -1, "max_task_retries": -1}
flags = {"tensor_parallel_size": args.gpus} if args.gpus > 1 else {}
replicas = [FastgenActor.options(**options).remote(args.model, **flags) for _ in range(args.replicas)]

# 64 prompts at a time for each server, which computes them together.
pool = ActorPool([replica for replica in replicas for _ in range(64)])
questions = [f"What is {a} + {b}?" for a in range(20, 30) for b in range(20, 30)]


def ask(replica: ray.actor.ActorHandle, question: str) -> ray.ObjectRef:
    return replica.chat.remote([{"role": "user", "content": question}], temperature=0, max_tokens=32)


for question, answer in zip(questions, pool.map(ask, questions)):
    print(question, answer.text)
