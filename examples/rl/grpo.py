"""GRPO: a policy in PyTorch learns a task, and fgserve samples its answers. One process starts both.

Run: python examples/rl/grpo.py [--steps 20] [--dtype bfloat16] ...    README.md beside this file explains what it prints.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from fastgen import Fastgen
from policy import Policy
from task import Problem, problems, reward
from torch import Tensor

MODEL = Path(__file__).resolve().parents[2] / "models/fastgen-tiny"
MAX_TOKENS = 24
#: Mean difference of the two sides' log probabilities from which they cannot be those of one policy.
FAR_APART = 0.05


@dataclass(frozen=True)
class Rollout:
    """One sampled answer, as the server recorded it."""

    prompt_ids: list[int]
    output_ids: list[int]
    #: Of the output ids, by the server.
    logprobs: list[float]
    reward: float
    #: How much better than the others of its prompt, in their standard deviations.
    advantage: float


@dataclass(frozen=True)
class Gap:
    """Between the trainer's log probabilities of the sampled ids and the server's."""

    mean: float
    largest: float


def ask(server: Fastgen, asked: list[Problem], version: int, **params) -> list:
    """The completion of each problem. Every token must have been computed with the weights of `version`."""
    conversations = [[{"role": "user", "content": problem.text}] for problem in asked]
    completions = {}
    for result in server.generate_all(conversations, concurrency=64, max_tokens=MAX_TOKENS, logprobs=0, **params):
        if result.error:
            raise result.error
        if result.completion.weight_version != str(version):
            raise SystemExit(f"weights {result.completion.weight_version} answered; {version} were sent")
        completions[result.index] = result.completion
    return [completions[i] for i in range(len(asked))]


def sample(server: Fastgen, asked: list[Problem], samples: int, version: int) -> list[Rollout]:
    """`samples` answers to each problem, at temperature 1: the policy's own distribution."""
    rollouts = []
    completions = ask(server, asked, version, n=samples, temperature=1.0, top_p=1.0, top_k=-1, seed=version)
    for problem, completion in zip(asked, completions):
        rewards = [reward(problem, choice.text, choice.finish_reason == "stop") for choice in completion.choices]
        mean, deviation = statistics.fmean(rewards), statistics.pstdev(rewards)
        for choice, earned in zip(completion.choices, rewards):
            advantage = (earned - mean) / deviation if deviation > 0 else 0.0
            rollouts.append(
                Rollout(completion.prompt_token_ids, choice.token_ids, choice.logprobs, earned, advantage)
            )
    return rollouts


def accuracy(server: Fastgen, count: int, version: int) -> float:
    """The share of held-out problems that greedy answers solve."""
    asked = problems(0, count, held_out=True)
    completions = ask(server, asked, version, temperature=0.0)
    solved = [reward(p, c.text, c.choices[0].finish_reason == "stop") for p, c in zip(asked, completions)]
    return statistics.fmean(solved)


def padded(rows: list[list], value: float) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def learn(policy: Policy, optimizer: torch.optim.Optimizer, rollouts: list[Rollout], clip: float) -> Gap:
    """One step of the optimizer on GRPO's objective. Says how far the two sides were apart before it."""
    # Attention is causal, so what stands behind a sequence changes nothing in it.
    ids = padded([r.prompt_ids + r.output_ids for r in rollouts], 0)
    # One entry for each id after the first: the prompt's are masked.
    sampled = padded([[0.0] * (len(r.prompt_ids) - 1) + r.logprobs for r in rollouts], 0.0)
    mask = padded([[False] * (len(r.prompt_ids) - 1) + [True] * len(r.logprobs) for r in rollouts], False)
    advantages = torch.tensor([[r.advantage] for r in rollouts])

    logprobs = policy.logprobs(ids)
    # The answers were drawn from the server's distribution, so its log probabilities are the old policy's.
    ratio = (logprobs - sampled).exp()
    objective = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    loss = -objective[mask].mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()

    difference = (logprobs.detach() - sampled)[mask].abs()
    return Gap(difference.mean().item(), difference.max().item())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO on a CPU with fgserve as the sampler.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--problems", type=int, default=16, help="in each step")
    parser.add_argument("--samples", type=int, default=8, help="answers to each problem")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--clip", type=float, default=0.2, help="GRPO's bound on the ratio of new to old probabilities")
    parser.add_argument("--held-out", type=int, default=100, help="problems that are asked before and after")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="what is served")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    policy = Policy(MODEL, getattr(torch, args.dtype))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=args.learning_rate, weight_decay=0.0)
    with Fastgen(MODEL, device="cpu", dtype=args.dtype) as server:
        print(f"held-out problems solved before: {accuracy(server, args.held_out, 0):.0%}\n")
        print("step  reward  |trainer - server|: mean, largest  seconds: sample, learn, update")
        for step in range(args.steps):
            times = [time.perf_counter()]
            rollouts = sample(server, problems(step, args.problems), args.samples, version=step)
            times.append(time.perf_counter())
            gap = learn(policy, optimizer, rollouts, args.clip)
            times.append(time.perf_counter())
            server.update_weights(policy.served_weights(), weight_version=str(step + 1))
            times.append(time.perf_counter())
            took = "  ".join(f"{after - before:5.2f}" for before, after in zip(times, times[1:]))
            earned = statistics.fmean(rollout.reward for rollout in rollouts)
            print(f"{step:4}  {earned:6.3f}  {gap.mean:24.1e}  {gap.largest:7.1e}  {took:>31}", flush=True)
            if gap.mean > FAR_APART:
                raise SystemExit("the server's log probabilities are not this policy's")
        print(f"\nheld-out problems solved after: {accuracy(server, args.held_out, args.steps):.0%}")


if __name__ == "__main__":
    main()
