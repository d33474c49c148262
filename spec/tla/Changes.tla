------------------------------- MODULE Changes -------------------------------
(***************************************************************************)
(* The clauses of the invariant where it does not hold: in all states that *)
(* are one change away from one that a few steps lead to, whether or not   *)
(* any step makes that change.  The formulas that are proved, and the same *)
(* clauses in Rust, must be broken in just as many (proof/changes.py,      *)
(* tests/clauses.rs): so the three agree on where each does not hold.      *)
(***************************************************************************)
EXTENDS MC, Integers

CONSTANTS Steps,  \* As many as are taken before the change.
          Breaks  \* In how many of the changed states each clause is broken.

VARIABLE changed

InOneSlot ==
  [ProposalIsSafe   |->   3642,   OneProposal      |->   1484,
   VoteIsProposed   |->  14260,   VoteIsPromised   |->   7230,
   AcceptedIsVote   |->  17202,   AcceptedIsLatest |->  14898,
   AcceptedIsOpen   |->   4248,   ReportIsPromised |->  15522,
   ReportIsVote     |->  29340,   ReportIsLatest   |->   5382,
   DecidedIsChosen  |->   2980,   MarkedIsDecided  |->   1404,
   LogIsDecided     |->   8016]

InTwoSlots ==
  [ProposalIsSafe   |->    832,   OneProposal      |->    330,
   VoteIsProposed   |->   9660,   VoteIsPromised   |->   2944,
   AcceptedIsVote   |->  10272,   AcceptedIsLatest |->  10080,
   AcceptedIsOpen   |->    960,   ReportIsPromised |->  10930,
   ReportIsVote     |->  30768,   ReportIsLatest   |->   4736,
   DecidedIsChosen  |->   1728,   MarkedIsDecided  |->    612,
   LogIsDecided     |->   5220]

Toggled(set, element) == IF element \in set THEN set \ {element} ELSE set \cup {element}

Promised == \E n \in Node, b \in Ballot \cup {0} :
  /\ promised' = [promised EXCEPT ![n] = b]
  /\ UNCHANGED <<accepted, log, reports, proposals, votes, marks, decided>>

Accepted == \E n \in Node, s \in Slot, vote \in Vote \cup {NoVote} :
  /\ accepted' = [accepted EXCEPT ![n][s] = vote]
  /\ UNCHANGED <<promised, log, reports, proposals, votes, marks, decided>>

Ends == {0} \cup {s + 1 : s \in Slot}

Logged == \E n \in Node, entries \in UNION {[1..end -> Value] : end \in Ends} :
  /\ log' = [log EXCEPT ![n] = entries]
  /\ UNCHANGED <<promised, accepted, reports, proposals, votes, marks, decided>>

Reported == \E n \in Node, b \in Ballot, s \in Slot :
  LET others == {r \in reports : <<r.node, r.bal, r.slot>> # <<n, b, s>>} IN
  /\ \/ reports' = others
     \/ \E vote \in Vote \cup {NoVote} : reports' = others \cup {[node |-> n, bal |-> b, slot |-> s, vote |-> vote]}
  /\ UNCHANGED <<promised, accepted, log, proposals, votes, marks, decided>>

Proposed == \E proposal \in Proposal :
  /\ proposals' = Toggled(proposals, proposal)
  /\ UNCHANGED <<promised, accepted, log, reports, votes, marks, decided>>

SomeVote == \E vote \in Cast :
  /\ votes' = Toggled(votes, vote)
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, marks, decided>>

Marked == \E b \in Ballot, end \in Ends :
  /\ marks' = [marks EXCEPT ![b] = end]
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, decided>>

Decided == \E decision \in Decision :
  /\ decided' = Toggled(decided, decision)
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, marks>>

Change == Promised \/ Accepted \/ Logged \/ Reported \/ Proposed \/ SomeVote \/ Marked \/ Decided

InitChanges == Init /\ changed = FALSE
NextChanges == /\ ~ changed
               /\ \/ (TLCGet("level") <= Steps /\ Next /\ changed' = FALSE)
                  \/ (Change /\ changed' = TRUE)
SpecChanges == InitChanges /\ [][NextChanges]_<<vars, changed>>

\* How many are left.  One thread visits each state once, those of fewer steps first; so it can count.
ASSUME TLCSet(1, Breaks)

\* No more than they are to be, and it says where they are as many.
Counted(clause) == LET left == TLCGet(1)[clause] - 1 IN
  /\ TLCSet(1, [TLCGet(1) EXCEPT ![clause] = left])
  /\ left = 0 => PrintT(<<"as many", clause>>)
  /\ left >= 0

NoMore == changed => \A clause \in DOMAIN Holds : Holds[clause] \/ Counted(clause)
===============================================================================
