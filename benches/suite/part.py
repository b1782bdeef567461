"""What every part of the suite shares: its options, its rounds, its progress."""

import argparse
import pathlib
import random
import shutil
import tempfile
import time

from . import need, process


def options(doc, seconds, rounds):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="that are counted of each run")
    parser.add_argument("--no-build", action="store_true")
    return parser


def read(parser, words=None):
    args = parser.parse_args(words)
    if args.quick:
        args.rounds, args.seconds = 2, 0.3
    args.warm = min(0.25, args.seconds / 2)
    return args


class Home:
    """A folder on a disk, and everything that was started in it, gone at the end."""

    def __enter__(self):
        need.many_files()
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tollhouse-bench-"))
        return self.path

    def __exit__(self, *_):
        process.stop_all()
        shutil.rmtree(self.path, ignore_errors=True)


class Progress:
    """So many runs of so long: says how far it is, and when it will be done."""

    def __init__(self, name, runs, seconds):
        self.name, self.runs, self.done = name, runs, 0
        self.begun = self.told = time.monotonic()
        need.say(f"== {name}: {runs} runs, about {minutes(runs * seconds)}")

    def step(self):
        self.done += 1
        now = time.monotonic()
        if now - self.told > 15 or self.done == self.runs:
            self.told = now
            left = (now - self.begun) / self.done * (self.runs - self.done)
            need.say(f"   {self.name}: {self.done} of {self.runs}, {minutes(left)} left")


def minutes(seconds):
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def shuffled(things, turn):
    """The same things in another order each round, and the same order every time it is run."""
    things = list(things)
    random.Random(turn).shuffle(things)
    return things
