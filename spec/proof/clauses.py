"""The clauses that are proved are those of MultiPaxos.tla: by name, and each in the state of Clauses.tla that breaks it alone.

The states are read from that module, and the formulas of protocol.py are evaluated in them. A clause that holds there by the form of the state
(BY_TYPE) holds in all of them.
"""

import re
import sys

from explore import BY_TYPE, MODULE, SCOPES, Bounds, Translator
from protocol import INVARIANT, STATE, Ballot, Node, Slot, Value

CASES = MODULE.parent / "Clauses.tla"
NO_VOTE = None


def whole():
    """`Whole` of the module."""
    seven = dict(bal=1, val=7)
    return dict(
        promised={n: 1 if n == 0 else 2 for n in range(3)},
        accepted={n: {0: NO_VOTE if n == 2 else seven} for n in range(3)},
        log={n: [] for n in range(3)},
        reports=[dict(node=1, bal=2, slot=0, vote=seven)],
        proposals=[dict(bal=1, slot=0, val=7)],
        votes=[dict(node=n, bal=1, slot=0, val=7) for n in (0, 1)],
        marks={b: 0 for b in (1, 2)},
        decided=[dict(slot=0, val=7)],
    )


def value(text, old):
    """An expression of the module: sets of records, a sequence of numbers, a vote or a number; `@` is what there was."""
    text = re.sub(r"<<(.*?)>>", r"[\1]", text)
    text = re.sub(r"\[(\w+ \|->.*?)\]", lambda found: "dict(" + found[1].replace(" |->", "=") + ")", text)
    text = re.sub(r"\{(.*)\}", r"[\1]", text).replace(r"\cup", "+").replace("@", "old")
    return eval(text, dict(old=old, Seven=dict(bal=1, val=7), NoVote=NO_VOTE))


def changed(text):
    """`Whole` but for what follows EXCEPT."""
    state = whole()
    for place, new in re.findall(r"!\.(\S+) = (.*?)(?=, !\.|$)", text):
        name, *indices = re.findall(r"\w+", place)
        *path, last = [name, *map(int, indices)]
        target = state
        for index in path:
            target = target[index]
        target[last] = value(new, target[last])
    return state


def relations(state):
    """The tuples of each relation of protocol.py in a state of the module."""
    ballots = (1, 2)
    accepted = [(n, s, vote) for n, votes in state["accepted"].items() for s, vote in votes.items() if vote]
    reported = [(r["node"], r["bal"], r["slot"], r["vote"]) for r in state["reports"] if r["vote"]]
    return dict(
        reached=[(n, b) for n, top in state["promised"].items() for b in ballots if b <= top],
        above=[(n, b) for n, top in state["promised"].items() for b in ballots if b < top],
        accepted=[(n, s, vote["bal"], vote["val"]) for n, s, vote in accepted],
        accepted_to=[(n, s, b) for n, s, vote in accepted for b in ballots if b <= vote["bal"]],
        stored=[(n, s) for n, log in state["log"].items() for s, _ in enumerate(log)],
        log=[(n, s, v) for n, log in state["log"].items() for s, v in enumerate(log)],
        speaks=[(r["node"], r["bal"], r["slot"]) for r in state["reports"]],
        report=[(n, b, s, vote["bal"], vote["val"]) for n, b, s, vote in reported],
        report_to=[(n, b, s, c) for n, b, s, vote in reported for c in ballots if c <= vote["bal"]],
        proposal=[(p["bal"], p["slot"], p["val"]) for p in state["proposals"]],
        vote=[(v["node"], v["bal"], v["slot"], v["val"]) for v in state["votes"]],
        mark=[(b, s) for b, end in state["marks"].items() for s in range(end)],
        decided=[(d["slot"], d["val"]) for d in state["decided"]],
    )


def encoded(state, bounds):
    """A state as the formulas of explore.py take it: each relation as the bits of a number."""
    first = {Node: 0, Slot: 0, Ballot: 1, Value: 7}

    def bit(sorts, tuple_):
        index = 0
        for sort, term in zip(sorts, tuple_, strict=True):
            index = index * bounds.size[sort] + term - first[sort]
        return 1 << index

    tuples = relations(state)
    return [sum({bit(sorts, one) for one in tuples[name]}) for name, sorts in STATE.items()]


def main():
    wrong = []
    conjuncts = set(re.findall(r"\w+", re.search(r"^Inv == (.*?)^THEOREM", MODULE.read_text(), re.M | re.S)[1]))
    proved = set(INVARIANT) - BY_TYPE
    if conjuncts != proved:
        wrong.append(f"{MODULE.name} has the clauses {sorted(conjuncts)}, and proved are {sorted(proved)}")
    bounds = Bounds(SCOPES / "clauses.cfg")
    translator = Translator(bounds)
    formulas = {name: translator.formula(formula) for name, formula in INVARIANT.items()}
    cases = dict(re.findall(r'Case\("(\w+)", *\[Whole EXCEPT (.*)\]\)', CASES.read_text()))
    if set(cases) != proved:
        wrong.append(f"{CASES.name} has states for {sorted(cases)}")
    for name, text in {"": "", **cases}.items():
        state = encoded(changed(text), bounds)
        broken = [clause for clause, holds in formulas.items() if not holds(state)]
        if broken != [name] * bool(name):
            wrong.append(f"the state of Clauses.tla for {name or 'none'} breaks {broken}")
    for what in wrong:
        print(what, file=sys.stderr)
    if not wrong:
        print(f"\nEach of {len(cases)} clauses is broken alone by its state of {CASES.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
