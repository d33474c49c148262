---------------------------------- MODULE MC ----------------------------------
(***************************************************************************)
(* Bounds for TLC, of which each file of scopes/ sets its own.             *)
(***************************************************************************)
EXTENDS MultiPaxos, FiniteSets, TLC

\* The smallest ones.  A larger quorum lets nobody do what a smaller one does not.
Majorities == {Q \in SUBSET Node : Cardinality(Q) = Cardinality(Node) \div 2 + 1}

\* Nobody has a name that matters: a state stands for all that differ in names alone.
Alike == Permutations(Node) \cup Permutations(Value)

\* Phases 1 and 2 alone: what is chosen follows from the votes, whoever knows.
NextVotes == \/ \E n \in Node, b \in Ballot : Promise(n, b)
             \/ \E b \in Ballot, s \in Slot, v \in Value : Propose(b, s, v)
             \/ \E n \in Node, b \in Ballot, s \in Slot, v \in Value : CastVote(n, b, s, v)

SpecVotes == Init /\ [][NextVotes]_vars

\* And decisions, by a quorum's votes and by a leader's mark; but nobody stores them.
NextDecisions == \/ NextVotes
                 \/ \E b \in Ballot, s \in Slot, v \in Value : Decide(b, s, v) \/ Mark(b, s, v)
                 \/ \E n \in Node, b \in Ballot, s \in Slot, v \in Value : DecideMarked(n, b, s, v)

SpecDecisions == Init /\ [][NextDecisions]_vars

\* Whether each clause of the invariant holds, by its name.
Holds == [ProposalIsSafe   |-> ProposalIsSafe,   OneProposal      |-> OneProposal,
          VoteIsProposed   |-> VoteIsProposed,   VoteIsPromised   |-> VoteIsPromised,
          AcceptedIsVote   |-> AcceptedIsVote,   AcceptedIsLatest |-> AcceptedIsLatest,
          AcceptedIsOpen   |-> AcceptedIsOpen,   ReportIsPromised |-> ReportIsPromised,
          ReportIsVote     |-> ReportIsVote,     ReportIsLatest   |-> ReportIsLatest,
          DecidedIsChosen  |-> DecidedIsChosen,  MarkedIsDecided  |-> MarkedIsDecided,
          LogIsDecided     |-> LogIsDecided]
===============================================================================
