//! The short way to a peer: who has a message writes it to the connection, as long as nothing waits to be written before. So no other
//! thread has to be woken for it. Else it is queued for the connection's task.

use super::codec::{self, Seal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::tcp::OwnedWriteHalf;

/// What is longer is left to the task: who sends has other things to do.
const DIRECT_MAX: usize = 64 << 10;

/// Who may write.
#[derive(Debug, Default)]
pub(super) enum Turn {
    /// The task; or there is no connection.
    #[default]
    Task,
    /// Who sends.
    Sender(OwnedWriteHalf, Seal),
    /// The task again, once it takes the connection back; what is left of a sender's bytes goes first.
    Back(OwnedWriteHalf, Vec<u8>),
}

/// A connection that is written to by turns.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Turn>);

/// What came of messages that were to be written.
pub(super) enum Written {
    /// They are.
    All,
    /// Not all, and the task has to go on with what is left.
    Part,
    /// They are to be queued.
    Nothing,
}

impl Line {
    /// While it is held, the turn does not change.
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Takes the connection back, with what is to be written first.
    pub(super) fn take_back(&mut self) -> Option<(OwnedWriteHalf, Vec<u8>)> {
        match std::mem::take(self) {
            Turn::Task => None,
            Turn::Sender(stream, _) => Some((stream, Vec::new())),
            Turn::Back(stream, rest) => Some((stream, rest)),
        }
    }

    /// Writes `messages`, if it is the sender's turn. It is no longer, unless all could be written.
    pub(super) fn write(&mut self, messages: &[Arc<[u8]>]) -> Written {
        let (stream, seal) = match std::mem::take(self) {
            Turn::Sender(stream, seal) => (stream, seal),
            other => {
                *self = other;
                return Written::Nothing;
            }
        };
        if messages.iter().map(|message| message.len()).sum::<usize>() > DIRECT_MAX {
            *self = Turn::Back(stream, Vec::new());
            return Written::Nothing;
        }
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| codec::frame(&mut bytes, seal, message));
        // The task finds out about an error, too, and makes another connection.
        let count = stream.try_write(&bytes).unwrap_or(0);
        metrics::counter!("paxos_peer_sent_bytes_total").increment(count as u64);
        if count == bytes.len() {
            *self = Turn::Sender(stream, seal);
            return Written::All;
        }
        *self = Turn::Back(stream, bytes.split_off(count));
        Written::Part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn what_a_sender_could_not_write_goes_before_all_that_is_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let (_from_peer, to_peer) = stream.into_split();
        to_peer.writable().await.unwrap();
        let line = Line::default();
        let message: Arc<[u8]> = vec![7; 10_000].into();
        assert!(matches!(line.turn().write(from_ref(&message)), Written::Nothing), "there is no connection");
        *line.turn() = Turn::Sender(to_peer, Seal::NONE);
        let mut count = 1;
        while let Written::All = line.turn().write(from_ref(&message)) {
            count += 1;
        }
        assert!(matches!(line.turn().write(from_ref(&message)), Written::Nothing), "it is the task's turn");
        let (mut to_peer, rest) = line.turn().take_back().expect("it was lent");
        assert!(line.turn().take_back().is_none());
        let writing = async move { to_peer.write_all(&rest).await };
        let mut arrived = Vec::new();
        let (written, read) = tokio::join!(writing, peer.read_to_end(&mut arrived));
        written.and(read).unwrap();
        let mut frame = Vec::new();
        codec::frame(&mut frame, Seal::NONE, &message);
        assert!(arrived == frame.repeat(count));
    }
}
