------------------------------- MODULE Clauses -------------------------------
(***************************************************************************)
(* Each clause of the invariant says something of its own: a state in      *)
(* which it alone is broken.  They are those by which the specification's  *)
(* tests judge the same clauses in Rust (src/refinement/tests.rs).         *)
(***************************************************************************)
EXTENDS MC

VARIABLE broken  \* The clauses that are to be broken.

\* Nodes 0 and 1 voted for 7 in the first ballot: it is chosen, and decided, and
\* node 1 has promised the second, and so has node 2.
Seven == [bal |-> 1, val |-> 7]
Whole == [promised  |-> [n \in Node |-> IF n = 0 THEN 1 ELSE 2],
          accepted  |-> [n \in Node |-> [s \in Slot |-> IF n = 2 THEN NoVote ELSE Seven]],
          log       |-> [n \in Node |-> <<>>],
          reports   |-> {[node |-> 1, bal |-> 2, slot |-> 0, vote |-> Seven]},
          proposals |-> {[bal |-> 1, slot |-> 0, val |-> 7]},
          votes     |-> {[node |-> n, bal |-> 1, slot |-> 0, val |-> 7] : n \in {0, 1}},
          marks     |-> [b \in Ballot |-> 0],
          decided   |-> {[slot |-> 0, val |-> 7]}]

Case(clause, state) == [broken |-> {clause}, state |-> state]

Cases == {
  [broken |-> {}, state |-> Whole],
  Case("ProposalIsSafe",   [Whole EXCEPT !.proposals = @ \cup {[bal |-> 2, slot |-> 0, val |-> 8]}]),
  Case("OneProposal",      [Whole EXCEPT !.proposals = @ \cup {[bal |-> 1, slot |-> 0, val |-> 8]}]),
  Case("VoteIsProposed",   [Whole EXCEPT !.proposals = {}]),
  Case("VoteIsPromised",   [Whole EXCEPT !.promised[0] = 0]),
  Case("AcceptedIsVote",   [Whole EXCEPT !.accepted[2][0] = Seven]),
  Case("AcceptedIsLatest", [Whole EXCEPT !.accepted[0][0] = NoVote]),
  Case("AcceptedIsOpen",   [Whole EXCEPT !.log[0] = <<7>>]),
  Case("ReportIsPromised", [Whole EXCEPT !.reports = @ \cup {[node |-> 0, bal |-> 2, slot |-> 0, vote |-> Seven]}]),
  Case("ReportIsVote",     [Whole EXCEPT !.reports = @ \cup {[node |-> 2, bal |-> 2, slot |-> 0, vote |-> Seven]}]),
  Case("ReportIsLatest",   [Whole EXCEPT !.reports = {[node |-> 1, bal |-> 2, slot |-> 0, vote |-> NoVote]}]),
  Case("DecidedIsChosen",  [Whole EXCEPT !.decided = @ \cup {[slot |-> 0, val |-> 8]}]),
  Case("MarkedIsDecided",  [Whole EXCEPT !.decided = {}, !.marks[1] = 1]),
  Case("LogIsDecided",     [Whole EXCEPT !.log[2] = <<8>>])}

BreaksThatAlone == {clause \in DOMAIN Holds : ~ Holds[clause]} = broken
InvIsAllOfThem  == Inv <=> broken = {}
EachHasItsCase  == \A clause \in DOMAIN Holds : \E case \in Cases : case.broken = {clause}

InitClauses == \E case \in Cases : /\ broken    = case.broken
                                   /\ promised  = case.state.promised
                                   /\ accepted  = case.state.accepted
                                   /\ log       = case.state.log
                                   /\ reports   = case.state.reports
                                   /\ proposals = case.state.proposals
                                   /\ votes     = case.state.votes
                                   /\ marks     = case.state.marks
                                   /\ decided   = case.state.decided

SpecClauses == InitClauses /\ [][FALSE]_<<vars, broken>>
===============================================================================
