"""The clauses that are proved are those of MultiPaxos.tla: by name, and each in the state of Clauses.tla that breaks it alone.

The states are read from that module, and the formulas of protocol.py are evaluated in them. A clause that holds there by the form of the state
(BY_TYPE) holds in all of them.
"""

import re
import sys

from explore import BY_TYPE, MODULE, SCOPES, Bounds, Translator
from protocol import INVARIANT, STATE, Ballot, Node, Slot, Value

CASES = MODULE.parent / "Clauses.tla"
# What the expressions of that module are made of.
NAMES = dict(Node=range(3), Slot=range(1), Ballot=(1, 2), NoVote=None, listed=lambda *all: list(all))


def value(text, old=None):
    """An expression of the module, of functions, records, sequences, sets and numbers; `@` is what there was."""
    text = re.sub(r"<<(.*?)>>", r"listed(\1)", text)
    text = re.sub(r"IF (\w+) = (\w+) THEN (\w+) ELSE (\w+)", r"(\3 if \1 == \2 else \4)", text)
    text = re.sub(r"\{([^{}:]*)\}", r"listed(\1)", text)
    text = re.sub(r"\{(.*) : (\w+) \\in (.*)\}", r"list(\1 for \2 in \3)", text)
    function, record = r"\[(\w+) \\in (\w+) \|-> ([^\[\]]*)\]", r"\[(\w+ +\|->[^\[\]]*)\]"
    while re.search(r"\[", text):
        inner = re.sub(function, r"dict((\1, \3) for \1 in \2)", text)
        inner = re.sub(record, lambda found: "dict(" + re.sub(r" *\|->", "=", found[1]) + ")", inner)
        if inner == text:
            raise ValueError(f"{CASES.name} has an expression that is not translated: {text}")
        text = inner
    return eval(text.replace(r"\cup", "+").replace("@", "old"), dict(NAMES, old=old))


def defined(name):
    """What the module defines by this name."""
    return value(re.search(rf"^{name} == (.*?)\n(?:\n|\S)", CASES.read_text(), re.M | re.S)[1])


NAMES["Seven"] = defined("Seven")


def changed(text):
    """`Whole` but for what follows EXCEPT."""
    state = defined("Whole")
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
    place = lambda sorts, terms: [term - first[sort] for sort, term in zip(sorts, terms, strict=True)]  # noqa: E731
    tuples = relations(state)
    return [sum({bounds.bit(name, place(sorts, one)) for one in tuples[name]}) for name, sorts in STATE.items()]


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
