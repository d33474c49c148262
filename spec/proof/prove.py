"""Proves, by Z3, that the invariant of protocol.py holds for ever, and that no guard and no clause is there for nothing.

Every question is whether some formulas hold together. `unsat`: they never do, whatever the number of nodes, ballots, slots and
values. `sat`: Z3 has found where they do. Any other answer is a failure. So it cannot depend on luck, it is checked of
each question that Z3 decides those of its form.
"""

import functools
import sys
import time
from pathlib import Path

import z3

from protocol import ACTIONS, AXIOMS, BEFORE, CLAIMS, INITIALLY, INVARIANT, PROMISES_RISE, READ, SORTS
from protocol import read_misses_nothing

README = Path(__file__).resolve().parent.parent / "README.md"
TIMEOUT_MS = 30_000
# For all obligations together.
PROVED_SECONDS = 60
# Why a clause is not there for nothing that nothing else needs.
WANTED = "it is wanted itself"


def dependencies(formula, positive=True, bound=()):
    """Each pair of sorts of which a thing of the second has to exist for every thing of the first."""
    if z3.is_quantifier(formula):
        sorts = [formula.var_sort(i) for i in range(formula.num_vars())]
        if formula.is_forall() == positive:
            yield from dependencies(formula.body(), positive, (*bound, *sorts))
        else:
            yield from ((of, sort) for of in bound for sort in sorts)
            yield from dependencies(formula.body(), positive, bound)
        return
    for i, part in enumerate(formula.children()):
        kind = formula.decl().kind()
        if kind == z3.Z3_OP_NOT or (kind == z3.Z3_OP_IMPLIES and i == 0):
            yield from dependencies(part, not positive, bound)
        elif kind in (z3.Z3_OP_AND, z3.Z3_OP_OR, z3.Z3_OP_IMPLIES) or (kind == z3.Z3_OP_ITE and i > 0):
            yield from dependencies(part, positive, bound)
        else:
            yield from dependencies(part, positive, bound)
            yield from dependencies(part, not positive, bound)


@functools.cache
def known_dependencies(formula):
    return frozenset(dependencies(formula))


def is_decided(formulas):
    """Whether the formulas have no functions, and no sort depends on itself: only finitely many things matter then."""
    edges = {pair for formula in formulas for pair in known_dependencies(formula)}
    left = set(SORTS)
    while free := {sort for sort in left if not any(of in left and to == sort for of, to in edges)}:
        left -= free
    return not left


def ask(*formulas):
    """Whether the axioms and these hold together somewhere: sat, unsat or unknown."""
    formulas = [*AXIOMS, *formulas]
    assert is_decided(formulas), "a sort depends on itself"
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    solver.add(formulas)
    return solver.check()


def invariant(without=None):
    return [clause(BEFORE) for name, clause in INVARIANT.items() if name != without]


def guards(action, without=None):
    return [guard for name, guard in action.guards(BEFORE, *action.constants()).items() if name != without]


def kept(action, clause, *, guard=None, dropped=None):
    """Asks for a step of the action after which the clause does not hold."""
    after = action.after(BEFORE)
    return ask(*invariant(dropped), *guards(action, guard), z3.Not(INVARIANT[clause](after)))


def lowers(action, guard=None):
    """Asks for a step of the action by which a promise falls."""
    return ask(*invariant(), *guards(action, guard), z3.Not(PROMISES_RISE(BEFORE, action.after(BEFORE))))


def follows(claim, dropped=None):
    """Asks for a state in which the invariant holds and the claim does not."""
    return ask(*invariant(dropped), z3.Not(CLAIMS[claim](BEFORE)))


class Report:
    """Prints each question with its answer and time, and counts those that came out wrong, and the clauses that nothing else needs."""

    def __init__(self):
        self.asked = self.wrong = self.wanted = 0

    def line(self, what, expected, question):
        started = time.monotonic()
        answer = question()
        seconds = time.monotonic() - started
        self.asked += 1
        self.wrong += answer != expected
        print(f"  {what:<56} {answer!s:<8}{seconds:6.2f} s{'' if answer == expected else '   WRONG'}", flush=True)


def prove(report):
    print("\nInitially every clause holds (no counterexample: unsat)")
    for clause in INVARIANT:
        report.line(clause, z3.unsat, lambda: ask(z3.Not(INVARIANT[clause](INITIALLY))))
    print("\nEvery action keeps every clause")
    for action in ACTIONS:
        for clause in INVARIANT:
            report.line(f"{action.name} keeps {clause}", z3.unsat, lambda: kept(action, clause))
    print("\nNo action lowers a promise (PromisesRise)")
    for action in ACTIONS:
        report.line(action.name, z3.unsat, lambda: lowers(action))
    print("\nWhat follows from the invariant")
    for claim in CLAIMS:
        report.line(claim, z3.unsat, lambda: follows(claim))


def first(questions):
    """The first of these that has a counterexample, by name."""
    return next((name for name, question in questions if question() == z3.sat), None)


def doubt(report):
    """What is proved is not proved by a contradiction, and by nothing superfluous."""
    print("\nThe invariant holds somewhere, and each action can be taken there (sat)")
    report.line("the invariant", z3.sat, lambda: ask(*invariant()))
    for action in ACTIONS:
        report.line(action.name, z3.sat, lambda: ask(*invariant(), *guards(action)))
    print("\nWithout a guard some clause is not kept")
    for action in ACTIONS:
        for guard in action.guards(BEFORE, *action.constants()):
            broken(report, f"{action.name}: {guard}", ((c, lambda c=c: kept(action, c, guard=guard)) for c in INVARIANT))
    print("\nWithout a premise a read may miss something")
    for premise in READ:
        claim = read_misses_nothing(premise)
        report.line(premise, z3.sat, lambda: ask(*invariant(), z3.Not(claim(BEFORE))))
    print("\nWithout a clause something is not proved any more")
    for dropped in INVARIANT:
        claims = ((f"{c} does not follow", lambda c=c: follows(c, dropped)) for c in CLAIMS if c != dropped)
        steps = (
            (f"{a.name} breaks {c}", lambda a=a, c=c: kept(a, c, dropped=dropped))
            for c in INVARIANT
            if c != dropped
            for a in ACTIONS
        )
        # Some nothing else needs: they say what one wants.
        itself = [(WANTED, lambda: follows(dropped, dropped))] if dropped in CLAIMS else []
        broken(report, dropped, (question for questions in (claims, steps, itself) for question in questions))


def broken(report, what, questions):
    started = time.monotonic()
    found = first(questions)
    report.asked += 1
    report.wrong += found is None
    report.wanted += found == WANTED
    print(f"  {what:<56} {found or 'NOTHING FAILS'}  ({time.monotonic() - started:.2f} s)", flush=True)


def main():
    report = Report()
    started = time.monotonic()
    prove(report)
    proved, obligations = time.monotonic() - started, report.asked
    if report.wrong:
        print(f"\n{report.wrong} of {obligations} obligations are not proved", file=sys.stderr)
        return 1
    doubt(report)
    doubts, seconds = report.asked - obligations, time.monotonic() - started - proved
    print(f"\n{obligations} obligations proved in {proved:.1f} s; {doubts} doubts dispelled in {seconds:.1f} s")
    if report.wrong:
        print(f"{report.wrong} of them remain", file=sys.stderr)
        return 1
    if proved > PROVED_SECONDS:
        print(f"that is more than {PROVED_SECONDS} s", file=sys.stderr)
        return 1
    text = " ".join(README.read_text().split())
    if untold := [told for told in (f"{obligations} obligations", f"{doubts} doubts", f"{report.wanted} clauses nothing else needs") if told not in text]:
        print(f"spec/README.md does not say: {', '.join(untold)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
