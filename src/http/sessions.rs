//! `/session`: sessions that clients bring themselves, so that they can send the same operation again, to any node.

use super::Service;
use super::answer::{Fail, Reply, json};
use super::request::{self, Ask};
use crate::{Outcome, Request};
use paxos_model::replica::message::{Act, Done};
use serde_json::json as value;

impl Service {
    /// `POST /session`
    pub(super) async fn open_session(&self, ask: &Ask) -> Result<Reply, Fail> {
        ask.only(&[])?;
        match self.ask(ask, Request::Write { session: None, act: Act::OpenSession }).await? {
            Outcome::Done(Done::Opened(id)) => {
                Ok(json(200, &value!({"session": format!("{}.{}", id.slot, id.position)})))
            }
            other => Err(Fail::new(500, format!("an opening was answered with {other:?}"))),
        }
    }

    /// `DELETE /session/ID`
    pub(super) async fn end_session(&self, ask: &Ask, id: &str) -> Result<Reply, Fail> {
        ask.only(&[])?;
        let act = Act::ExpireSession(request::session(id)?);
        match self.ask(ask, Request::Write { session: None, act }).await? {
            Outcome::Done(Done::Expired) => Ok(json(200, &value!({"session": id, "open": false}))),
            other => Err(Fail::new(500, format!("an expiry was answered with {other:?}"))),
        }
    }
}
