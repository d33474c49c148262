-------------------------------- MODULE Twins --------------------------------
(***************************************************************************)
(* The protocol, each time with one rule broken.  TLC must refute each by  *)
(* the invariant that its file of scopes/ names.                           *)
(***************************************************************************)
EXTENDS MC

\* An acceptor votes whatever it promised.
VoteDespitePromise(n, b, s, v) ==
  /\ s >= Len(log[n])
  /\ [bal |-> b, slot |-> s, val |-> v] \in proposals
  /\ accepted' = [accepted EXCEPT ![n][s] = [bal |-> b, val |-> v]]
  /\ votes' = votes \cup {[node |-> n, bal |-> b, slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, log, reports, proposals, marks, decided>>

SpecVoteDespitePromise ==
  Init /\ [][Next \/ \E n \in Node, b \in Ballot, s \in Slot, v \in Value : VoteDespitePromise(n, b, s, v)]_vars

\* A leader proposes what it likes, whatever its quorum reports.
ProposeUnheeding(b, s, v) ==
  /\ ~ \E p \in proposals : p.bal = b /\ p.slot = s
  /\ s >= marks[b]
  /\ \E Q \in Quorum : \A n \in Q : \E r \in Says(b, s) : r.node = n
  /\ proposals' = proposals \cup {[bal |-> b, slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, votes, marks, decided>>

SpecProposeUnheeding ==
  Init /\ [][Next \/ \E b \in Ballot, s \in Slot, v \in Value : ProposeUnheeding(b, s, v)]_vars

\* A candidate takes silence on a slot, which is decided there, for a report of no vote.
ProposeBehind(b, s, v) ==
  /\ ~ \E p \in proposals : p.bal = b /\ p.slot = s
  /\ s >= marks[b]
  /\ \E Q \in Quorum : /\ \A n \in Q : promised[n] = b
                       /\ IsHighest(b, s, v, Q)
  /\ proposals' = proposals \cup {[bal |-> b, slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, votes, marks, decided>>

SpecProposeBehind ==
  Init /\ [][Next \/ \E b \in Ballot, s \in Slot, v \in Value : ProposeBehind(b, s, v)]_vars

\* An acceptor takes its vote for decided by the leader's mark, in whatever ballot it is.
DecideMarkedAnyhow(n, b, s, v) ==
  /\ s < marks[b]
  /\ accepted[n][s] # NoVote
  /\ accepted[n][s].val = v
  /\ decided' = decided \cup {[slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, marks>>

SpecDecideMarkedAnyhow ==
  Init /\ [][Next \/ \E n \in Node, b \in Ballot, s \in Slot, v \in Value : DecideMarkedAnyhow(n, b, s, v)]_vars

\* A leader that is told another decision than it proposed leads on.
MarkOverruled(b, s, v) ==
  /\ s = marks[b]
  /\ [slot |-> s, val |-> v] \in decided
  /\ marks' = [marks EXCEPT ![b] = s + 1]
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, decided>>

SpecMarkOverruled ==
  Init /\ [][Next \/ \E b \in Ballot, s \in Slot, v \in Value : MarkOverruled(b, s, v)]_vars
==============================================================================
