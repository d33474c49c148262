//! Reads one after another: what confirmed an earlier one says nothing about a later one.

use super::{base, elect, item, put, read};
use crate::properties::party::{Client, Item, Want};
use crate::properties::progress::Links;
use crate::scopes::prefix::Play;
use crate::scopes::witness::Witness;
use crate::scopes::{Losses, Scope};
use paxos_model::kv::Query;

/// See the head of this file.
pub(super) fn scopes() -> Vec<Scope> {
    let quiet = |scope: Scope| Scope { elections: vec![0; 3], restarts: Some(0), restarting: vec![], ..scope };
    let session = || item(Want::Session, &[0]);
    let put_at = |node| item(Want::Command(put(1, "k", "a", Some(1))), &[node]);
    let read_at = |node| item(read("k"), &[node]);
    let local_read_at = |node| item(Want::LocalRead(Query::Get("k".into())), &[node]);
    let scripts = |scripts: Vec<Vec<Item>>| scripts.into_iter().map(Client::Script).collect();
    vec![
        Scope {
            elections: vec![0, 1, 0],
            slots: 9,
            rounds: 2,
            // Node 0 leads twice. Acknowledgements of its first reign's second round are still on their way when its second
            // reign has had one round.
            prefix: vec![
                elect(),
                Play::Admit(3),
                Play::Admit(5),
                Play::AdmitUnheard(5, vec![0]),
                Play::Restart(0),
                elect(),
                Play::Admit(4),
            ],
            clients: scripts(vec![
                vec![session(), put_at(1)],
                vec![read_at(0), read_at(0)],
                vec![read_at(0), read_at(0)],
            ]),
            witnesses: vec![Witness::CommandDone],
            losses: Losses::HeartbeatsToThird,
            ..quiet(base("second-read", "a second read at a leader that may be deposed after the first"))
        },
        Scope {
            slots: 9,
            prefix: vec![elect(), Play::Admit(3), Play::AdmitUnheard(4, vec![2])],
            clients: scripts(vec![vec![session(), put_at(0)], vec![read_at(2)], vec![read_at(2)]]),
            witnesses: vec![Witness::CommandDone, Witness::ReadAnswered],
            // Others confirm a read of node 2 before it hears what is decided.
            losses: Losses::HeartbeatsToThird,
            ..quiet(base("reads-side-by-side", "two reads at one node, and a write elsewhere"))
        },
        Scope {
            slots: 2,
            rounds: 1,
            prefix: vec![elect()],
            clients: scripts(vec![vec![read_at(0)], vec![read_at(0)], vec![read_at(1)]]),
            witnesses: vec![Witness::ReadAnswered],
            losses: Losses::Third,
            progress: vec![Links::among(&[0, 1])],
            ..quiet(base("next-round", "reads wait for the next round while one is on its way, then faults end"))
        },
        Scope {
            elections: vec![0, 0, 1],
            slots: 9,
            // Node 2 shows a put which, after its restart, it has only the vote for; node 1 has not even that.
            prefix: vec![
                elect(),
                Play::Admit(3),
                Play::Admit(4),
                Play::AdmitWithout(3, vec![1]),
                Play::Admit(4),
                Play::Restart(2),
            ],
            clients: scripts(vec![
                vec![session(), put_at(0)],
                vec![local_read_at(2), local_read_at(2), local_read_at(2)],
                vec![local_read_at(2)],
            ]),
            witnesses: vec![Witness::Recovered, Witness::ScriptDone],
            ..quiet(base("local-read-elected", "local reads at a node that restarts and is elected"))
        },
    ]
}
