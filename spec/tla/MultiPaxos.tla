----------------------------- MODULE MultiPaxos -----------------------------
(***************************************************************************)
(* The protocol of model/src/replica/, without what makes it live or fast: *)
(* one instance of Paxos a slot, and a promise that covers all slots.      *)
(*                                                                         *)
(* After "The Part-Time Parliament" (L. Lamport, 1998) and "Paxos Made     *)
(* Simple" (L. Lamport, 2001), whose phases the actions are named by.      *)
(*                                                                         *)
(* The state is what acceptors have stored, and every message that was     *)
(* ever sent; nothing else.  So                                            *)
(*                                                                         *)
(*  - a message that is lost, late or repeated is one that somebody reads  *)
(*    never, late or twice;                                                *)
(*  - a restart changes nothing: what it loses, candidacies, leaderships   *)
(*    and marks that were not saved, is not in the state;                  *)
(*  - phase 1a changes nothing: any acceptor may promise any ballot.       *)
(*                                                                         *)
(* There is one set of quorums, since there is one configuration.  When    *)
(* membership changes come, this module gets them first.                   *)
(***************************************************************************)
EXTENDS Naturals, Sequences

CONSTANTS Node,     \* The acceptors.  Learners and clients are nobody here.
          Quorum,   \* The sets of acceptors that decide together.
          Ballot,   \* Ballot numbers.  One belongs to one node, which leads in it.
          Slot,     \* Positions in the log, from 0.
          Value     \* What a slot may hold.  A no-op is one of them.

ASSUME /\ Quorum \subseteq SUBSET Node
       /\ \A Q, R \in Quorum : Q \cap R # {}
       /\ Ballot \subseteq Nat \ {0}
       /\ Slot \subseteq Nat /\ \A s \in Slot : \A t \in 0..s : t \in Slot

NoVote == [bal |-> 0]
Vote   == [bal : Ballot, val : Value]

VARIABLES
  \* What an acceptor has stored, before anybody sees what follows from it (durable.rs).
  promised,   \* The highest ballot that it promised or voted in; 0 before.
  accepted,   \* For every slot its latest vote, or NoVote.
  log,        \* What is decided in the slots from 0 on: entries, or a snapshot of what they
              \* came to.  Its length is the decided mark; votes below it are dropped.
  \* The messages that were sent (message.rs), and what they tell.
  reports,    \* 1b, Promise: for every slot that the promise speaks of, the vote there.
  proposals,  \* 2a, Accept.
  votes,      \* 2b, Accepted.
  marks,      \* Heartbeat: the leader of a ballot says that every slot below is decided.
  decided     \* What some replica took for decided: it may tell everybody (Decided, Part).

vars == <<promised, accepted, log, reports, proposals, votes, marks, decided>>

Report   == [node : Node, bal : Ballot, slot : Slot, vote : Vote \cup {NoVote}]
Proposal == [bal : Ballot, slot : Slot, val : Value]
Cast     == [node : Node, bal : Ballot, slot : Slot, val : Value]
Decision == [slot : Slot, val : Value]

TypeOK == /\ promised \in [Node -> Ballot \cup {0}]
          /\ accepted \in [Node -> [Slot -> Vote \cup {NoVote}]]
          /\ \A n \in Node : log[n] \in Seq(Value) /\ \A s \in 0..Len(log[n])-1 : s \in Slot
          /\ reports \subseteq Report
          /\ proposals \subseteq Proposal
          /\ votes \subseteq Cast
          /\ marks \in [Ballot -> Slot \cup {s + 1 : s \in Slot}]
          /\ decided \subseteq Decision

Init == /\ promised = [n \in Node |-> 0]
        /\ accepted = [n \in Node |-> [s \in Slot |-> NoVote]]
        /\ log = [n \in Node |-> <<>>]
        /\ reports = {}
        /\ proposals = {}
        /\ votes = {}
        /\ marks = [b \in Ballot |-> 0]
        /\ decided = {}
-----------------------------------------------------------------------------
(***************************************************************************)
(* Phase 1b (acceptor.rs, on_prepare).  An acceptor promises to take part  *)
(* in nothing below ballot b, and reports its latest vote for every slot,  *)
(* from the first that is not decided in its store on.  Of those before    *)
(* it says nothing.  A candidate promises its own ballot first of all      *)
(* (election.rs, prepare).                                                 *)
(***************************************************************************)
Promise(n, b) ==
  /\ b > promised[n]
  /\ promised' = [promised EXCEPT ![n] = b]
  /\ reports' = reports \cup
       {[node |-> n, bal |-> b, slot |-> s, vote |-> accepted[n][s]] : s \in {t \in Slot : t >= Len(log[n])}}
  /\ UNCHANGED <<accepted, log, proposals, votes, marks, decided>>

(***************************************************************************)
(* Phase 2a (proposer.rs, lead_if_promised; leader.rs, propose).  Once a   *)
(* quorum has promised ballot b and speaks of slot s, its leader proposes  *)
(* there: what was voted for in the highest ballot that is reported, or,   *)
(* where the quorum reports no vote, anything.  It proposes once in a      *)
(* slot, and in none that it said to be decided.                           *)
(*                                                                         *)
(* That the whole quorum has to speak of s is why a candidate which lacks  *)
(* what another one has stored, and says nothing of, fetches it before it  *)
(* leads.                                                                  *)
(***************************************************************************)
Says(b, s) == {r \in reports : r.bal = b /\ r.slot = s}

IsHighest(b, s, v, Q) ==
  LET voted == {r \in Says(b, s) : r.node \in Q /\ r.vote # NoVote} IN
  \/ voted = {}
  \/ \E top \in Says(b, s) : /\ top.vote # NoVote
                             /\ top.vote.val = v
                             /\ \A r \in voted : r.vote.bal <= top.vote.bal

Propose(b, s, v) ==
  /\ ~ \E p \in proposals : p.bal = b /\ p.slot = s
  /\ s >= marks[b]
  /\ \E Q \in Quorum : /\ \A n \in Q : \E r \in Says(b, s) : r.node = n
                       /\ IsHighest(b, s, v, Q)
  /\ proposals' = proposals \cup {[bal |-> b, slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, votes, marks, decided>>

(***************************************************************************)
(* Phase 2b (acceptor.rs, on_accept).  An acceptor votes for what is       *)
(* proposed, unless it promised something higher or has stored what is     *)
(* decided there.  Only its latest vote for a slot is kept.                *)
(***************************************************************************)
CastVote(n, b, s, v) ==
  /\ b >= promised[n]
  /\ s >= Len(log[n])
  /\ [bal |-> b, slot |-> s, val |-> v] \in proposals
  /\ promised' = [promised EXCEPT ![n] = b]
  /\ accepted' = [accepted EXCEPT ![n][s] = [bal |-> b, val |-> v]]
  /\ votes' = votes \cup {[node |-> n, bal |-> b, slot |-> s, val |-> v]}
  /\ UNCHANGED <<log, reports, proposals, marks, decided>>

(***************************************************************************)
(* A leader decides what a quorum voted for in its ballot (leader.rs,      *)
(* decide_chosen).                                                         *)
(***************************************************************************)
Decide(b, s, v) ==
  /\ \E Q \in Quorum : \A n \in Q : [node |-> n, bal |-> b, slot |-> s, val |-> v] \in votes
  /\ decided' = decided \cup {[slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, marks>>

(***************************************************************************)
(* The leader of ballot b says that one slot more is decided (leader.rs,   *)
(* send_heartbeats).  What is decided there is what it proposed, if it     *)
(* proposed there at all: told of another decision it stops to lead        *)
(* (learner.rs, on_decided; snapshot.rs, install).                         *)
(***************************************************************************)
Mark(b, s, v) ==
  /\ s = marks[b]
  /\ [slot |-> s, val |-> v] \in decided
  /\ \A p \in proposals : p.bal = b /\ p.slot = s => p.val = v
  /\ marks' = [marks EXCEPT ![b] = s + 1]
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, decided>>

(***************************************************************************)
(* An acceptor whose vote for a slot is one in ballot b takes it for       *)
(* decided when the leader of b says that the slot is (learner.rs,         *)
(* on_heartbeat).  The message has no value.  That this changes nothing,   *)
(* the value being decided already, is for the proof to show.              *)
(***************************************************************************)
DecideMarked(n, b, s, v) ==
  /\ s < marks[b]
  /\ accepted[n][s] = [bal |-> b, val |-> v]
  /\ decided' = decided \cup {[slot |-> s, val |-> v]}
  /\ UNCHANGED <<promised, accepted, log, reports, proposals, votes, marks>>

(***************************************************************************)
(* An acceptor stores that one slot more is decided, which it has learned  *)
(* or was told, and drops its vote there (learner.rs, learn, with the save *)
(* that comes next; snapshot.rs, install, is as many of these as the       *)
(* snapshot has slots).                                                    *)
(***************************************************************************)
Store(n, s, v) ==
  /\ s = Len(log[n])
  /\ [slot |-> s, val |-> v] \in decided
  /\ log' = [log EXCEPT ![n] = Append(@, v)]
  /\ accepted' = [accepted EXCEPT ![n][s] = NoVote]
  /\ UNCHANGED <<promised, reports, proposals, votes, marks, decided>>

Next == \/ \E n \in Node, b \in Ballot : Promise(n, b)
        \/ \E b \in Ballot, s \in Slot, v \in Value : \/ Propose(b, s, v)
                                                      \/ Decide(b, s, v)
                                                      \/ Mark(b, s, v)
        \/ \E n \in Node, b \in Ballot, s \in Slot, v \in Value : \/ CastVote(n, b, s, v)
                                                                  \/ DecideMarked(n, b, s, v)
        \/ \E n \in Node, s \in Slot, v \in Value : Store(n, s, v)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
(***************************************************************************)
(* A value is chosen as soon as a quorum voted for it in one ballot,       *)
(* whether anybody knows or not.                                           *)
(***************************************************************************)
Voted(n, b, s, v) == [node |-> n, bal |-> b, slot |-> s, val |-> v] \in votes

chosen == [s \in Slot |-> {c.val : c \in {c \in votes : /\ c.slot = s
                                                        /\ \E Q \in Quorum : \A n \in Q : Voted(n, c.bal, s, c.val)}}]

Consensus == INSTANCE Consensus
RefinesConsensus == Consensus!Spec

THEOREM Spec => RefinesConsensus
-----------------------------------------------------------------------------
(***************************************************************************)
(* What one wants.                                                         *)
(***************************************************************************)
Agreement    == \A s \in Slot : \A v, w \in chosen[s] : v = w
DecidedAgree == \A d, e \in decided : d.slot = e.slot => d.val = e.val
LogsAgree    == \A n, m \in Node : \A i \in DOMAIN log[n] \cap DOMAIN log[m] : log[n][i] = log[m][i]

(***************************************************************************)
(* A read (leader.rs).  After it was asked for, each of a quorum R tells   *)
(* the leader of b that it has promised nothing higher: so it had not      *)
(* before, since promises only rise.  If something was chosen in a slot    *)
(* already, the leader's own quorum of phase 1, P, reported a vote there,  *)
(* or left the slot out, or the leader proposed it itself.  So the slot is *)
(* below those that the read waits for.                                    *)
(***************************************************************************)
ReadMissesNothing ==
  \A b \in Ballot, s \in Slot, P, R \in Quorum :
    /\ \A n \in P : \E r \in Says(b, s) : r.node = n
    /\ \A n \in R : promised[n] <= b
    => \A c \in votes : c.slot = s /\ (\E Q \in Quorum : \A n \in Q : Voted(n, c.bal, s, c.val))
         => \/ [bal |-> b, slot |-> s, val |-> c.val] \in proposals
            \/ \E r \in Says(b, s) : r.node \in P /\ r.vote.bal >= c.bal

PromisesRise == [][\A n \in Node : promised'[n] >= promised[n]]_vars

(***************************************************************************)
(* The inductive invariant of spec/proof/, clause by clause.  There        *)
(* numbers are sets, so AboveIsReached, ReachedIsAboveLower,               *)
(* StoredIsPrefix and MarksArePrefix say that they are numbers; here they  *)
(* are by their types.                                                     *)
(***************************************************************************)
ProposalIsSafe ==
  \A p \in proposals, Q \in Quorum : \A c \in Ballot, w \in Value :
    c < p.bal /\ w # p.val => \E n \in Q : promised[n] > c /\ ~ Voted(n, c, p.slot, w)

OneProposal    == \A p, r \in proposals : p.bal = r.bal /\ p.slot = r.slot => p.val = r.val
VoteIsProposed == \A c \in votes : [bal |-> c.bal, slot |-> c.slot, val |-> c.val] \in proposals
VoteIsPromised == \A c \in votes : promised[c.node] >= c.bal
AcceptedIsVote == \A n \in Node, s \in Slot :
                    accepted[n][s] # NoVote => Voted(n, accepted[n][s].bal, s, accepted[n][s].val)
AcceptedIsLatest == \A c \in votes : c.slot >= Len(log[c.node]) => accepted[c.node][c.slot].bal >= c.bal
AcceptedIsOpen   == \A n \in Node, s \in Slot : s < Len(log[n]) => accepted[n][s] = NoVote

ReportIsPromised == \A r \in reports : promised[r.node] >= r.bal
ReportIsVote     == \A r \in reports : r.vote # NoVote => Voted(r.node, r.vote.bal, r.slot, r.vote.val)
ReportIsLatest   == \A r \in reports, c \in votes :
                      c.node = r.node /\ c.slot = r.slot /\ c.bal < r.bal => r.vote.bal >= c.bal

DecidedIsChosen == \A d \in decided : d.val \in chosen[d.slot]
MarkedIsDecided == \A p \in proposals : p.slot < marks[p.bal] => [slot |-> p.slot, val |-> p.val] \in decided
LogIsDecided    == \A n \in Node : \A i \in DOMAIN log[n] : [slot |-> i - 1, val |-> log[n][i]] \in decided

Inv == /\ ProposalIsSafe /\ OneProposal /\ VoteIsProposed
       /\ VoteIsPromised /\ AcceptedIsVote /\ AcceptedIsLatest /\ AcceptedIsOpen
       /\ ReportIsPromised /\ ReportIsVote /\ ReportIsLatest
       /\ DecidedIsChosen /\ MarkedIsDecided /\ LogIsDecided

THEOREM Spec => PromisesRise /\ [](Inv /\ Agreement /\ DecidedAgree /\ LogsAgree /\ ReadMissesNothing)
=============================================================================
