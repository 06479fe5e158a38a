"""The task: sums asked in ways that the built-in model was not taught. An answer that ends and is right earns 1, any other 0."""

import random
import re
from dataclasses import dataclass

#: How a sum of a and b is asked, and whether b is added (1) or subtracted (-1).
PHRASINGS = [
    ("start with {a} and subtract {b}", -1),
    ("{a} raised by {b}", 1),
    ("deduct {b} from {a}", -1),
    ("the shop had {a} books and sold {b}", -1),
]


@dataclass(frozen=True)
class Problem:
    text: str
    answer: int


def problems(seed: int, count: int, *, held_out: bool = False) -> list[Problem]:
    """Problems drawn by `seed`. One pair of numbers in eight is held out: training never asks for it."""
    draw = random.Random(f"{seed} {held_out}")
    drawn = []
    while len(drawn) < count:
        a, b = draw.randint(1, 99), draw.randint(1, 99)
        if ((31 * a + b) % 8 == 0) == held_out:
            phrasing, sign = PHRASINGS[len(drawn) % len(PHRASINGS)]
            drawn.append(Problem(phrasing.format(a=a, b=b), a + sign * b))
    return drawn


def reward(problem: Problem, text: str, ended: bool) -> float:
    """Of an answer, which is its last number. `ended`: the model ended it; it was not cut off."""
    numbers = re.findall(r"-?\d+", text)
    return float(ended and numbers != [] and int(numbers[-1]) == problem.answer)
