------------------------------ MODULE Consensus ------------------------------
(***************************************************************************)
(* What Multi-Paxos is for: in every slot of a log at most one value is    *)
(* chosen, and once it is chosen it stays so.                              *)
(***************************************************************************)
CONSTANTS Slot, Value

VARIABLE chosen   \* For every slot the set of values that are chosen there.

Init == chosen = [s \in Slot |-> {}]

Choose(s, v) == /\ chosen[s] = {}
                /\ chosen' = [chosen EXCEPT ![s] = {v}]

Next == \E s \in Slot, v \in Value : Choose(s, v)

Spec == Init /\ [][Next]_chosen
=============================================================================
