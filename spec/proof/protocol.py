"""The abstract protocol of spec/tla/MultiPaxos.tla as relations over any number of nodes, ballots, slots and values.

Written so that Z3 decides every question about it (O. Padon, G. Losa, M. Sagiv, S. Shoham, "Paxos Made EPR", OOPSLA 2017): there
are no functions and no numbers, and what has to exist for every x is of a sort that comes after x's in

    value, slot  ->  quorum, ballot  ->  node

A number is the set of those below it. So `promised[n]` is two relations, which ballots it is above and which it has reached; a
vote comes with the ballots up to its own; and the slots that a node stores as decided, or that a leader marked, are relations as
well. That the last two are sets of all slots up to one, as in the messages, is among what is proved.
"""

from dataclasses import dataclass
from typing import Callable

import z3

Node, Quorum, Ballot, Slot, Value = SORTS = [z3.DeclareSort(name) for name in ("Node", "Quorum", "Ballot", "Slot", "Value")]


def relation(name, *sorts):
    return z3.Function(name, *sorts, z3.BoolSort())


# What never changes.
member = relation("member", Node, Quorum)
lower = relation("lower", Ballot, Ballot)
before = relation("before", Slot, Slot)

# The state. The names in brackets are those of MultiPaxos.tla.
STATE = {
    "reached": (Node, Ballot),  # [promised] promised[n] >= b
    "above": (Node, Ballot),  # [promised] promised[n] > b
    "accepted": (Node, Slot, Ballot, Value),  # [accepted] the latest vote for a slot that is not stored as decided
    "accepted_to": (Node, Slot, Ballot),  # [accepted] that vote is in b or above
    "stored": (Node, Slot),  # [log] the slot is stored as decided, and the vote there dropped
    "log": (Node, Slot, Value),  # [log] what was decided there
    "speaks": (Node, Ballot, Slot),  # [reports] the promise of b by n speaks of s,
    "report": (Node, Ballot, Slot, Ballot, Value),  # [reports] and reports this vote there,
    "report_to": (Node, Ballot, Slot, Ballot),  # [reports] which is in this ballot or above
    "proposal": (Ballot, Slot, Value),  # [proposals]
    "vote": (Node, Ballot, Slot, Value),  # [votes]
    "mark": (Ballot, Slot),  # [marks] marks[b] > s
    "decided": (Slot, Value),  # [decided]
}

SORT_OF = {"n": Node, "m": Node, "p": Quorum, "q": Quorum, "r": Quorum, "b": Ballot, "c": Ballot, "d": Ballot, "s": Slot, "t": Slot,
           "v": Value, "w": Value}  # fmt: skip


def variables(names):
    return [z3.Const(name, SORT_OF[name]) for name in names.split()]


def every(names, body):
    """For all values of the variables named."""
    bound = variables(names)
    return z3.ForAll(bound, body(*bound))


def some(names, body):
    """For some values of the variables named."""
    bound = variables(names)
    return z3.Exists(bound, body(*bound))


def no(names, body):
    return every(names, lambda *bound: z3.Not(body(*bound)))


def implies(*formulas):
    """The first ones together imply the last."""
    return z3.Implies(z3.And(*formulas[:-1]), formulas[-1])


def total_order(less, x, y, z):
    """Strict, on three variables of a sort."""
    a, b, c = x, y, z
    return [
        z3.ForAll([a], z3.Not(less(a, a))),
        z3.ForAll([a, b, c], implies(less(a, b), less(b, c), less(a, c))),
        z3.ForAll([a, b], z3.Or(less(a, b), a == b, less(b, a))),
    ]


AXIOMS = [
    every("q r", lambda q, r: some("n", lambda n: z3.And(member(n, q), member(n, r)))),
    *total_order(lower, *z3.Consts("b c d", Ballot)),
    *total_order(before, *z3.Consts("s t u", Slot)),
]


class State:
    """Each relation of the state as a function from terms to a formula."""

    def __init__(self, relations):
        self.__dict__.update(relations)


BEFORE = State({name: relation(name, *sorts) for name, sorts in STATE.items()})
INITIALLY = State({name: lambda *terms: z3.BoolVal(False) for name in STATE})


@dataclass
class Action:
    """What may happen: under all guards, the effects. A relation without an effect stays as it is."""

    name: str
    parameters: str
    guards: Callable  # from the state and the parameters: name -> formula
    effects: Callable  # the same: name of a relation -> a function like those of State

    def constants(self):
        """The parameters, by names that no quantifier binds."""
        return [z3.Const(f"the {name}", SORT_OF[name]) for name in self.parameters.split()]

    def after(self, state):
        return State({**state.__dict__, **self.effects(state, *self.constants())})


def added(relation, *terms):
    """The relation and one tuple more."""
    return lambda *other: z3.Or(relation(*other), z3.And(*(x == y for x, y in zip(other, terms, strict=True))))


def at_most(x, y):
    return z3.Not(lower(y, x))


ACTIONS = [
    # Phase 1b. The promise speaks of every slot that is not stored as decided.
    Action(
        "Promise",
        "n b",
        lambda old, n, b: {"above what is promised": z3.Not(old.reached(n, b))},
        lambda old, n, b: {
            "reached": lambda m, c: z3.If(m == n, at_most(c, b), old.reached(m, c)),
            "above": lambda m, c: z3.If(m == n, lower(c, b), old.above(m, c)),
            "speaks": lambda m, c, s: z3.Or(old.speaks(m, c, s), z3.And(m == n, c == b, z3.Not(old.stored(n, s)))),
            "report": lambda m, c, s, d, v: z3.Or(
                old.report(m, c, s, d, v), z3.And(m == n, c == b, z3.Not(old.stored(n, s)), old.accepted(n, s, d, v))
            ),
            "report_to": lambda m, c, s, d: z3.Or(
                old.report_to(m, c, s, d), z3.And(m == n, c == b, z3.Not(old.stored(n, s)), old.accepted_to(n, s, d))
            ),
        },
    ),
    # Phase 2a, where a quorum reports no vote.
    Action(
        "ProposeAny",
        "b s v q",
        lambda old, b, s, v, q: {
            "once in a ballot": no("w", lambda w: old.proposal(b, s, w)),
            "not marked": z3.Not(old.mark(b, s)),
            "a quorum speaks of the slot": every("n", lambda n: implies(member(n, q), old.speaks(n, b, s))),
            "no vote is reported": no("n c", lambda n, c: z3.And(member(n, q), old.report_to(n, b, s, c))),
        },
        lambda old, b, s, v, q: {"proposal": added(old.proposal, b, s, v)},
    ),
    # Phase 2a, where somebody, m, reports a vote in c, and nobody of a quorum a higher one.
    Action(
        "ProposeHighest",
        "b s v q m c",
        lambda old, b, s, v, q, m, c: {
            "once in a ballot": no("w", lambda w: old.proposal(b, s, w)),
            "not marked": z3.Not(old.mark(b, s)),
            "a quorum speaks of the slot": every("n", lambda n: implies(member(n, q), old.speaks(n, b, s))),
            "the vote is reported": old.report(m, b, s, c, v),
            "no higher one is": every("n d", lambda n, d: implies(member(n, q), old.report_to(n, b, s, d), at_most(d, c))),
        },
        lambda old, b, s, v, q, m, c: {"proposal": added(old.proposal, b, s, v)},
    ),
    # Phase 2b.
    Action(
        "CastVote",
        "n b s v",
        lambda old, n, b, s, v: {
            "nothing higher is promised": z3.Not(old.above(n, b)),
            "not stored as decided": z3.Not(old.stored(n, s)),
            "it is proposed": old.proposal(b, s, v),
        },
        lambda old, n, b, s, v: {
            "reached": lambda m, c: z3.If(m == n, at_most(c, b), old.reached(m, c)),
            "above": lambda m, c: z3.If(m == n, lower(c, b), old.above(m, c)),
            "accepted": lambda m, t, c, w: z3.If(z3.And(m == n, t == s), z3.And(c == b, w == v), old.accepted(m, t, c, w)),
            "accepted_to": lambda m, t, c: z3.If(z3.And(m == n, t == s), at_most(c, b), old.accepted_to(m, t, c)),
            "vote": added(old.vote, n, b, s, v),
        },
    ),
    # A leader counts votes.
    Action(
        "Decide",
        "b s v q",
        lambda old, b, s, v, q: {"a quorum voted": every("n", lambda n: implies(member(n, q), old.vote(n, b, s, v)))},
        lambda old, b, s, v, q: {"decided": added(old.decided, s, v)},
    ),
    # A leader's heartbeat.
    Action(
        "Mark",
        "b s v",
        lambda old, b, s, v: {
            "it is decided": old.decided(s, v),
            "nothing else was proposed": every("w", lambda w: implies(old.proposal(b, s, w), w == v)),
            "in order": every("t", lambda t: implies(before(t, s), old.mark(b, t))),
        },
        lambda old, b, s, v: {"mark": added(old.mark, b, s)},
    ),
    # An acceptor hears it.
    Action(
        "DecideMarked",
        "n b s v",
        lambda old, n, b, s, v: {
            "it is marked": old.mark(b, s),
            "voted for in that ballot": old.accepted(n, s, b, v),
        },
        lambda old, n, b, s, v: {"decided": added(old.decided, s, v)},
    ),
    # An acceptor stores what is decided, and drops its vote.
    Action(
        "Store",
        "n s v",
        lambda old, n, s, v: {
            "it is decided": old.decided(s, v),
            "in order": every("t", lambda t: implies(before(t, s), old.stored(n, t))),
        },
        lambda old, n, s, v: {
            "stored": added(old.stored, n, s),
            "log": added(old.log, n, s, v),
            "accepted": lambda m, t, c, w: z3.And(z3.Not(z3.And(m == n, t == s)), old.accepted(m, t, c, w)),
            "accepted_to": lambda m, t, c: z3.And(z3.Not(z3.And(m == n, t == s)), old.accepted_to(m, t, c)),
        },
    ),
]

# The inductive invariant, clause by clause. `Inv` of MultiPaxos.tla is the same by the same names.
INVARIANT = {
    # What makes it safe: where a value differs from one that is proposed, no quorum voted for it in a lower ballot or ever will.
    "ProposalIsSafe": lambda at: every(
        "q b c s v w",
        lambda q, b, c, s, v, w: implies(
            at.proposal(b, s, v),
            lower(c, b),
            v != w,
            some("n", lambda n: z3.And(member(n, q), at.above(n, c), z3.Not(at.vote(n, c, s, w)))),
        ),
    ),
    "OneProposal": lambda at: every("b s v w", lambda b, s, v, w: implies(at.proposal(b, s, v), at.proposal(b, s, w), v == w)),
    "VoteIsProposed": lambda at: every("n b s v", lambda n, b, s, v: implies(at.vote(n, b, s, v), at.proposal(b, s, v))),
    # The acceptor.
    "AboveIsReached": lambda at: every("n b", lambda n, b: implies(at.above(n, b), at.reached(n, b))),
    "ReachedIsAboveLower": lambda at: every("n b c", lambda n, b, c: implies(at.reached(n, c), lower(b, c), at.above(n, b))),
    "VoteIsPromised": lambda at: every("n b s v", lambda n, b, s, v: implies(at.vote(n, b, s, v), at.reached(n, b))),
    "AcceptedIsVote": lambda at: every("n b s v", lambda n, b, s, v: implies(at.accepted(n, s, b, v), at.vote(n, b, s, v))),
    "AcceptedIsLatest": lambda at: every(
        "n b s v", lambda n, b, s, v: implies(at.vote(n, b, s, v), z3.Not(at.stored(n, s)), at.accepted_to(n, s, b))
    ),
    # Its promises.
    "ReportIsPromised": lambda at: every("n b s", lambda n, b, s: implies(at.speaks(n, b, s), at.reached(n, b))),
    "ReportIsVote": lambda at: every("n b s c v", lambda n, b, s, c, v: implies(at.report(n, b, s, c, v), at.vote(n, c, s, v))),
    "ReportIsLatest": lambda at: every(
        "n b s c v",
        lambda n, b, s, c, v: implies(at.speaks(n, b, s), at.vote(n, c, s, v), lower(c, b), at.report_to(n, b, s, c)),
    ),
    # Decisions.
    "DecidedIsChosen": lambda at: every(
        "s v",
        lambda s, v: implies(
            at.decided(s, v),
            some("q b", lambda q, b: every("n", lambda n: implies(member(n, q), at.vote(n, b, s, v)))),
        ),
    ),
    "MarkedIsDecided": lambda at: every(
        "b s v", lambda b, s, v: implies(at.mark(b, s), at.proposal(b, s, v), at.decided(s, v))
    ),
    "LogIsDecided": lambda at: every("n s v", lambda n, s, v: implies(at.log(n, s, v), at.decided(s, v))),
    # What makes one number enough, in the store and in the messages; and what durable.rs says of `accepted`.
    "StoredIsPrefix": lambda at: every("n s t", lambda n, s, t: implies(at.stored(n, s), before(t, s), at.stored(n, t))),
    "MarksArePrefix": lambda at: every("b s t", lambda b, s, t: implies(at.mark(b, s), before(t, s), at.mark(b, t))),
    "AcceptedIsOpen": lambda at: every("n s b v", lambda n, s, b, v: implies(at.accepted(n, s, b, v), z3.Not(at.stored(n, s)))),
}

# What follows from it, and is what one wants.
CLAIMS = {
    "Agreement": lambda at: every(
        "q r b c s v w",
        lambda q, r, b, c, s, v, w: implies(
            every("n", lambda n: implies(member(n, q), at.vote(n, b, s, v))),
            every("n", lambda n: implies(member(n, r), at.vote(n, c, s, w))),
            v == w,
        ),
    ),
    "DecidedAgree": lambda at: every("s v w", lambda s, v, w: implies(at.decided(s, v), at.decided(s, w), v == w)),
    "LogsAgree": lambda at: every("n m s v w", lambda n, m, s, v, w: implies(at.log(n, s, v), at.log(m, s, w), v == w)),
    **{
        name: INVARIANT[name]
        for name in ("DecidedIsChosen", "LogIsDecided", "StoredIsPrefix", "MarksArePrefix", "AcceptedIsOpen")
    },
}

# A read (leader.rs). After it was asked for, each of a quorum, r, tells the leader of b that it has promised nothing higher: so it
# had not before, since promises only rise. If then something was chosen in a slot already, by q in c, the leader's own quorum of phase 1, p,
# reported a vote there, or left the slot out, or the leader proposed it itself. So the slot is below those that the read waits for.
PROMISES_RISE = lambda before, after: every("n b", lambda n, b: implies(before.above(n, b), after.above(n, b)))  # noqa: E731

READ = {
    "chosen": lambda at, p, q, r, b, c, s, v: every("n", lambda n: implies(member(n, q), at.vote(n, c, s, v))),
    "confirmed": lambda at, p, q, r, b, c, s, v: every("n", lambda n: implies(member(n, r), z3.Not(at.above(n, b)))),
    "phase 1 speaks of it": lambda at, p, q, r, b, c, s, v: every("n", lambda n: implies(member(n, p), at.speaks(n, b, s))),
}


def read_misses_nothing(without=None):
    """As a function of the state, and without one of the premises."""
    premises = [premise for name, premise in READ.items() if name != without]
    return lambda at: every(
        "p q r b c s v",
        lambda p, q, r, b, c, s, v: implies(
            *(premise(at, p, q, r, b, c, s, v) for premise in premises),
            z3.Or(at.proposal(b, s, v), some("n", lambda n: z3.And(member(n, p), at.report_to(n, b, s, c)))),
        ),
    )


CLAIMS["ReadMissesNothing"] = read_misses_nothing()
