"""The clauses that are proved are those of MultiPaxos.tla also where they do not hold: they are broken in as many of the states of
Changes.tla as that module says, which TLC and tests/clauses.rs count, too.

These states are one change away from one that a few steps lead to, whether or not any step makes that change.
"""

import itertools
import re
import sys

from explore import BY_TYPE, MODULE, PLACES, SCOPES, Bounds, Translator
from protocol import ACTIONS, INVARIANT, STATE

CHANGES = MODULE.parent / "Changes.tla"


class Changes:
    """From a state to all that are one change away, within bounds."""

    def __init__(self, bounds):
        self.bounds = bounds

    def bits(self, name, *terms):
        """The tuples of a relation that have these terms; None is any."""
        found = 0
        for tuple_ in itertools.product(*[range(self.bounds.size[sort]) for sort in STATE[name]]):
            if all(term is None or term == own for term, own in zip(terms, tuple_, strict=True)):
                found |= self.bounds.bit(name, tuple_)
        return found

    def to(self, name, *terms, end):
        """Those whose last term is below `end`."""
        return sum(self.bits(name, *terms, last) for last in range(end))

    def alternatives(self):
        """For each variable of the module, where it may change: for each relation what is taken out, and what is put in instead."""
        nodes, ballots, slots, values = (range(self.bounds.size[sort]) for sort in STATE["vote"])
        votes, ends = [None, *itertools.product(ballots, values)], range(len(slots) + 1)
        for n, top in itertools.product(nodes, [None, *ballots]):
            below = -1 if top is None else top
            yield {
                "reached": (self.bits("reached", n, None), self.to("reached", n, end=below + 1)),
                "above": (self.bits("above", n, None), self.to("above", n, end=max(below, 0))),
            }
        for n, s, vote in itertools.product(nodes, slots, votes):
            yield {
                "accepted": (self.bits("accepted", n, s, None, None), self.bits("accepted", n, s, *vote) if vote else 0),
                "accepted_to": (
                    self.bits("accepted_to", n, s, None),
                    self.to("accepted_to", n, s, end=vote[0] + 1) if vote else 0,
                ),
            }
        logs = [log for end in ends for log in itertools.product(values, repeat=end)]
        for n, log in itertools.product(nodes, logs):
            yield {
                "stored": (self.bits("stored", n, None), self.to("stored", n, end=len(log))),
                "log": (self.bits("log", n, None, None), sum(self.bits("log", n, s, v) for s, v in enumerate(log))),
            }
        for n, b, s, (speaks, vote) in itertools.product(nodes, ballots, slots, [(0, None), *((1, vote) for vote in votes)]):
            yield {
                "speaks": (self.bits("speaks", n, b, s), self.bits("speaks", n, b, s) if speaks else 0),
                "report": (self.bits("report", n, b, s, None, None), self.bits("report", n, b, s, *vote) if vote else 0),
                "report_to": (
                    self.bits("report_to", n, b, s, None),
                    self.to("report_to", n, b, s, end=vote[0] + 1) if vote else 0,
                ),
            }
        for b, end in itertools.product(ballots, ends):
            yield {"mark": (self.bits("mark", b, None), self.to("mark", b, end=end))}
        for name in ("proposal", "vote", "decided"):
            for tuple_ in itertools.product(*[range(self.bounds.size[sort]) for sort in STATE[name]]):
                one = self.bits(name, *tuple_)
                yield {name: (one, 0)}
                yield {name: (one, one)}

    def of(self, states):
        """All that are one change away from one of them; the values that are there already are among them."""
        found = set()
        for alternative in self.alternatives():
            places = [(PLACES[name], ~out, put) for name, (out, put) in alternative.items()]
            for state in states:
                changed = list(state)
                for place, stays, put in places:
                    changed[place] = changed[place] & stays | put
                found.add(tuple(changed))
        return found


def within(steps, translator):
    """Every state that at most so many steps lead to."""
    actions = [translator.action(action) for action in ACTIONS]
    last = known = {tuple(0 for _ in STATE)}
    for _ in range(steps):
        last = {after for state in last for action in actions for after in action(state)} - known
        known = known | last
    return known


def compare(scope):
    """Whether the formulas are broken in as many states as the module says for this scope."""
    bounds, text = Bounds(scope), scope.read_text()
    translator = Translator(bounds)
    states = within(int(re.search(r"Steps = (\d+)", text)[1]), translator)
    changed = Changes(bounds).of(states)
    formulas = {name: translator.formula(formula) for name, formula in INVARIANT.items() if name not in BY_TYPE}
    found = {name: sum(not holds(state) for state in changed) for name, holds in formulas.items()}
    table = re.search(re.search(r"Breaks <- (\w+)", text)[1] + r" ==(.*?)\]", CHANGES.read_text(), re.S)[1]
    expected = {name: int(count) for name, count in re.findall(r"(\w+) +\|-> +(\d+)", table)}
    visited = len(states) + len(changed)
    if found != expected or visited != bounds.states:
        print(f"{scope.stem} says {bounds.states} and {expected}, and there are {visited} and {found}", file=sys.stderr)
        return False
    print(f"Each of {len(found)} clauses is broken in as many of {len(changed):,} states, one change away from {len(states):,}")
    return True


def main():
    return 0 if all([compare(scope) for scope in sorted(SCOPES.glob("changes-*.cfg"))]) else 1


if __name__ == "__main__":
    sys.exit(main())
