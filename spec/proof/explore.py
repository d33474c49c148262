"""Visits every state of protocol.py within the bounds of spec/tla/scopes/, and compares their number with TLC's.

What is run are the formulas that are proved: guards and effects are translated, as Z3 has them, to Python. A relation is the set of
its tuples, as the bits of a number. In each state every clause of the invariant is evaluated, too.
"""

import functools
import math
import multiprocessing
import re
import sys
import textwrap
import time
from pathlib import Path

import z3

from protocol import ACTIONS, BEFORE, CLAIMS, INVARIANT, STATE, Ballot, Node, Quorum, Slot, Value

SCOPES = Path(__file__).resolve().parent.parent / "tla" / "scopes"
MODULE = SCOPES.parent / "MultiPaxos.tla"

# What is a set here and a number there holds there by type.
BY_TYPE = {"AboveIsReached", "ReachedIsAboveLower", "StoredIsPrefix", "MarksArePrefix"}

# Where the relations stand in a state.
PLACES = {name: place for place, name in enumerate(STATE)}

# The actions of phases 1 and 2.
VOTES = {"Promise", "ProposeAny", "ProposeHighest", "CastVote"}


class Bounds:
    """How many there are of each sort, as a file of scopes/ says; quorums are the smallest majorities."""

    def __init__(self, path):
        text = path.read_text()
        count = lambda name: len(re.search(rf"^ *{name} = {{(.*)}}", text, re.M)[1].split(","))  # noqa: E731
        self.nodes = count("Node")
        majority = self.nodes // 2 + 1
        self.quorums = [q for q in range(1 << self.nodes) if q.bit_count() == majority]
        self.size = {Node: self.nodes, Quorum: len(self.quorums)}
        self.size |= {Ballot: count("Ballot"), Slot: count("Slot"), Value: count("Value")}
        self.decides = "SPECIFICATION SpecVotes" not in text
        self.states = int(re.search(r"([\d,]+) distinct states", text)[1].replace(",", ""))

    def weights(self, sorts):
        """What a term of each sort counts for in the place of a tuple."""
        return [math.prod(self.size[sort] for sort in sorts[place + 1 :]) for place in range(len(sorts))]

    def bit(self, name, terms):
        """The bit of a tuple of this relation."""
        return 1 << sum(term * weight for term, weight in zip(terms, self.weights(STATE[name]), strict=True))


class Translator:
    """From formulas to Python, for certain bounds."""

    def __init__(self, bounds):
        self.bounds, self.names = bounds, 0

    def name(self):
        self.names += 1
        return f"x{self.names}"

    def index(self, sorts, terms):
        """The place of a tuple."""
        return "+".join(f"{term}*{weight}" for term, weight in zip(terms, self.bounds.weights(sorts), strict=True))

    def expression(self, e, bound=()):
        """`bound` are the names of the variables, the innermost last."""
        if z3.is_quantifier(e):
            names = [self.name() for _ in range(e.num_vars())]
            body = self.expression(e.body(), (*bound, *names))
            loops = " ".join(
                f"for {name} in range({self.bounds.size[e.var_sort(i)]})" for i, name in enumerate(names)
            )
            return f"{'all' if e.is_forall() else 'any'}(({body}) {loops})"
        if z3.is_var(e):
            return bound[-1 - z3.get_var_index(e)]
        parts = [self.expression(child, bound) for child in e.children()]
        name = e.decl().name()
        match e.decl().kind():
            case z3.Z3_OP_TRUE | z3.Z3_OP_FALSE:
                return str(z3.is_true(e))
            case z3.Z3_OP_AND:
                return "(" + " and ".join(parts) + ")"
            case z3.Z3_OP_OR:
                return "(" + " or ".join(parts) + ")"
            case z3.Z3_OP_NOT:
                return f"(not {parts[0]})"
            case z3.Z3_OP_IMPLIES:
                return f"(not {parts[0]} or {parts[1]})"
            case z3.Z3_OP_ITE:
                return f"({parts[1]} if {parts[0]} else {parts[2]})"
            case z3.Z3_OP_EQ:
                return f"({parts[0]} == {parts[1]})"
            case z3.Z3_OP_DISTINCT:
                return f"({parts[0]} != {parts[1]})"
            case z3.Z3_OP_UNINTERPRETED if not parts:
                return name.replace(" ", "_")
            case z3.Z3_OP_UNINTERPRETED if name in ("lower", "before"):
                return f"({parts[0]} < {parts[1]})"
            case z3.Z3_OP_UNINTERPRETED if name == "member":
                return f"(QUORUMS[{parts[1]}] >> {parts[0]} & 1)"
            case z3.Z3_OP_UNINTERPRETED:
                return f"({name} >> ({self.index(STATE[name], parts)}) & 1)"
        raise ValueError(f"not translated: {e}")

    def relation(self, name, function):
        """The relation that this function from terms to a formula is."""
        sorts = STATE[name]
        terms = [z3.Const(self.name(), sort) for sort in sorts]
        loops = " ".join(f"for {term} in range({self.bounds.size[sort]})" for term, sort in zip(terms, sorts, strict=True))
        index = self.index(sorts, [str(term) for term in terms])
        return f"sum([1 << ({index}) {loops} if {self.expression(function(*terms))}])"

    def action(self, action):
        """From a state to the list of those that the action leads to."""
        constants = action.constants()
        guards = sorted(action.guards(BEFORE, *constants).values(), key=z3.is_quantifier)
        effects = action.effects(BEFORE, *constants)
        lines = []
        for depth, constant in enumerate(constants):
            lines.append("    " * depth + f"for {self.expression(constant)} in range({self.bounds.size[constant.sort()]}):")
        inner = "    " * len(constants)
        lines.append(inner + f"if {' and '.join(self.expression(guard) for guard in guards)}:")
        lines.append(inner + f"    found.append(({', '.join(self.relation(name, effects[name]) for name in effects)},))")
        changes = self.compiled("\n".join(["found = []", *lines, "return found"]))
        places = [PLACES[name] for name in effects]

        def leads_to(state):
            for changed in changes(state):
                after = list(state)
                for place, relation in zip(places, changed, strict=True):
                    after[place] = relation
                yield tuple(after)

        return leads_to

    def formula(self, formula):
        """Whether it holds in a state."""
        return self.compiled(f"return {self.expression(formula(BEFORE))}")

    def compiled(self, body):
        """A function of the state, which is evaluated once for the relations that it looks at."""
        looks_at = [name for name in STATE if re.search(rf"\b{name}\b", body)]
        source = f"def evaluate({', '.join(looks_at)}):\n" + textwrap.indent(body, "    ")
        scope = {"QUORUMS": self.bounds.quorums}
        exec(source, scope)
        evaluate = functools.cache(scope["evaluate"])
        places = [PLACES[name] for name in looks_at]
        return lambda state: evaluate(*[state[place] for place in places])


def explore(path):
    """The number of states and the seconds that it took; raises where something does not hold in one."""
    started = time.monotonic()
    bounds = Bounds(path)
    translator = Translator(bounds)
    actions = [translator.action(action) for action in ACTIONS if bounds.decides or action.name in VOTES]
    formulas = {name: translator.formula(formula) for name, formula in INVARIANT.items()}
    first = tuple(0 for _ in STATE)
    seen, pending = {first}, [first]
    while pending:
        state = pending.pop()
        for name, holds in formulas.items():
            if not holds(state):
                raise AssertionError(f"{name} does not hold in {dict(zip(STATE, state, strict=True))}")
        for action in actions:
            for after in action(state):
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
    return len(seen), time.monotonic() - started


def main():
    module = MODULE.read_text()
    missing = [name for name in CLAIMS if name not in BY_TYPE and not re.search(rf"^{name} +?==", module, re.M)]
    if missing:
        print(f"{MODULE.name} does not define {missing}", file=sys.stderr)
        return 1
    print("\nThe same states as TLC finds")
    wrong = 0
    paths = sorted(SCOPES.glob("exact-*.cfg"))
    with multiprocessing.Pool() as pool:
        for path, (found, seconds) in zip(paths, pool.imap(explore, paths), strict=True):
            expected = Bounds(path).states
            wrong += found != expected
            verdict = "" if found == expected else f"   WRONG: TLC finds {expected:,}"
            print(f"  {path.stem:<32}{found:>9,} states{seconds:8.1f} s{verdict}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
