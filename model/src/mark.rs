//! Marks on the branches of the replica that carry a rule, so that the check can show that its scopes reach each of them.
//!
//! A mark is write-only for the replica: nothing here can change what a handler does.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! marks {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A branch that carries a rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark { $($(#[doc = $doc])+ $name,)+ }

        impl Mark {
            /// Every mark, in order.
            pub const ALL: &[Mark] = &[$(Mark::$name,)+];

            /// What reaching the mark means.
            pub fn meaning(self) -> &'static str {
                match self { $(Mark::$name => concat!($($doc,)+),)+ }
            }
        }
    };
}

marks! {
    /// A message of somebody who is no member is ignored.
    NotAMember,
    /// A prepare below the promise is not answered.
    PrepareBelowPromise,
    /// A prepare raises the promise.
    PromiseRaised,
    /// A duplicate prepare is answered again, without a save.
    PrepareRepeated,
    /// A duplicate prepare is not answered, since the report would be another one.
    PrepareOutdated,
    /// An accept below the promise is not answered.
    AcceptBelowPromise,
    /// An accept above the promise raises it and is voted for.
    AcceptAbovePromise,
    /// A duplicate accept is answered again, without a save.
    AcceptRepeated,
    /// An accept for a slot that is decided here is not voted for: its leader is behind, and its heartbeat tells so.
    AcceptOfDecided,
    /// A leader's heartbeat shows that it is behind, and is answered with what it lacks.
    LeaderBehind,
    /// An accept too far above what is decided here is not voted for.
    AcceptBeyondHorizon,
    /// A promise with a vote too far above what is decided here is not counted.
    PromiseBeyondHorizon,
    /// An acceptor votes again, in a higher ballot, for a slot in which it voted before.
    VoteReplaced,
    /// A learner that hears no leader does not want to lead.
    LearnerWaits,
    /// A client cannot end a node's session.
    SessionNotClients,
    /// A leader that heard from no quorum steps down.
    LeaderLostQuorum,
    /// A leader that heard from a quorum goes on.
    LeaderKept,
    /// A pre-vote is granted.
    PreVoteGranted,
    /// A pre-vote is not granted, since a leader is being followed.
    PreVoteWhileFollowing,
    /// A pre-vote for a ballot that could not be promised is not granted.
    PreVoteBelowPromise,
    /// A quorum granted the pre-vote.
    PreVoteWon,
    /// A leader learns that a peer promised a higher ballot, and prepares a higher one still.
    LeaderOutbid,
    /// Somebody else learns that a peer promised a higher ballot than its own.
    Outbid,
    /// A candidate gives up its ballot for a higher one.
    CandidateRetries,
    /// A promise reports a vote that replaces one of a lower ballot.
    PromiseHigherVote,
    /// A promise reports a vote below the one already known.
    PromiseLowerVote,
    /// A candidate must fetch what a promiser no longer reports before it may lead.
    CandidateBehind,
    /// A new leader proposes again a value reported by a promise.
    ValueRecovered,
    /// A new leader fills a hole with a no-op.
    HoleFilled,
    /// A slot above the first undecided one has its quorum first.
    DecidedOutOfOrder,
    /// The window is full, and the queue waits.
    WindowFull,
    /// So many bytes are proposed and undecided that the queue waits.
    WindowFullOfBytes,
    /// An entry that is not full waits for others that are on their way.
    BatchWaits,
    /// An entry takes no further operation, since it would take too many bytes.
    BatchFullOfBytes,
    /// An answer to a fetch takes no further entry, since it would take too many bytes.
    DecidedFullOfBytes,
    /// What is handed on takes more than one message.
    ForwardFullOfBytes,
    /// A leader does not send all accepts again at a time, since they would take too many bytes.
    AcceptsAgainFullOfBytes,
    /// A node does not hand on all operations again at a time, since they would take too many bytes.
    ForwardAgainFullOfBytes,
    /// An entry carries more than one operation.
    BatchOfSeveral,
    /// The leader already has a forwarded operation queued or proposed.
    ForwardKnown,
    /// A forwarded operation was applied before, and is not proposed again.
    ForwardApplied,
    /// The leader's queue is full.
    QueueFull,
    /// A forwarded operation is passed on to the leader.
    ForwardRelayed,
    /// A read is passed on to the leader.
    ReadRelayed,
    /// The leader's answer to a read is passed on to its origin.
    ReadSlotRelayed,
    /// The leader already has a read in a round, or waiting for one.
    ReadKnown,
    /// As many reads wait for a round as the leader takes.
    ReadsFull,
    /// A quorum confirmed a read round.
    ReadConfirmed,
    /// A confirmed read waits until enough is applied.
    ReadWaitsForApply,
    /// A heartbeat below the promise is not answered.
    HeartbeatBelowPromise,
    /// A replica that wanted to lead follows a higher ballot instead.
    HeartbeatEndsCandidacy,
    /// A follower decides its own vote, cast in the leader's ballot.
    DecidedByHeartbeat,
    /// A follower lacks the leader's vote for a decided slot, and fetches it.
    FetchAfterHeartbeat,
    /// A decision arrives by catching up.
    DecidedByFetch,
    /// A leader is told a decision that it did not propose, and stops.
    LeaderOverruled,
    /// A grant of another poll, or one that is counted already, is not counted.
    PreVotedOutdated,
    /// A promise of another ballot, or one that is counted already, is not counted.
    PromiseOutdated,
    /// A vote in another ballot than the leader's is not counted.
    VoteOutdated,
    /// A heartbeat of another ballot than the leader's was acknowledged, which confirms nothing.
    AckOutdated,
    /// The answer to a read of another life, or to one that nobody waits for any more, is not used.
    ReadSlotOutdated,
    /// A chunk has more than one decision.
    DecidedOfSeveral,
    /// A chunk that leaves a gap is not used.
    DecidedWithGap,
    /// A node's session is opened.
    SessionOpened,
    /// An opening is reached again in the log, and opens nothing more.
    SessionOpenedAgain,
    /// The opening of an earlier life is reached after a later one's, and opens nothing.
    SessionOpenStale,
    /// The session of a node's earlier life ends.
    SessionReplaced,
    /// The least recently used session makes room.
    SessionEvicted,
    /// A session is ended by a command.
    SessionExpired,
    /// A session is ended since it was not used for long.
    UnusedSessionExpired,
    /// An operation of an unknown session is not applied.
    SessionUnknown,
    /// An operation is reached again in the log, and answered as before.
    DuplicateAnswered,
    /// An operation below the acknowledged ones is not applied.
    OperationStale,
    /// An operation too far above the acknowledged ones is not applied.
    OperationBeyondWindow,
    /// A retry is answered by the origin from the session, without the log.
    RetryAnsweredAtOnce,
    /// A retry takes the place of an earlier attempt at the same node.
    AttemptSuperseded,
    /// A request is refused since too many wait.
    RequestRefusedBusy,
    /// The deadline passed before the request was handed on: refused.
    DeadlineRefused,
    /// The deadline passed after the request was handed on: unknown.
    DeadlineUnknown,
    /// The deadline of a read passed.
    DeadlineOfRead,
    /// The node's session has no room for a further request yet.
    SessionWindowFull,
    /// The node's session ended before the request was applied: refused.
    NodeSessionExpired,
    /// A local read is served at once.
    LocalRead,
    /// A local read must first be confirmed, since nothing was read here since the start.
    LocalReadConfirmed,
    /// What is applied becomes the snapshot.
    SnapshotTaken,
    /// An entry that the snapshot takes the place of goes.
    LogTruncated,
    /// An entry before the tail stays, since a member that is being helped will ask for it.
    LogKeptForOther,
    /// A part of a snapshot takes no further piece, since it would take too many bytes.
    PartFullOfBytes,
    /// A part of a snapshot that is no later than what is decided here is not used.
    PartOutdated,
    /// A part that is not the next one of the snapshot that is arriving is not used.
    PartNotNext,
    /// Nobody goes on with the snapshot that is arriving, and another one is begun.
    PartOfAnother,
    /// A part is kept, and the next one asked for.
    PartTaken,
    /// A snapshot has arrived whole, and takes the place of what was known.
    SnapshotInstalled,
    /// A leader that installs a snapshot stops.
    LeaderInstalls,
    /// What is decided overtakes a snapshot that is arriving.
    ArrivingOvertaken,
    /// The opening of a node's session is among what an installed snapshot passes over.
    OpeningPassedOver,
    /// An operation that a client waits for is among what an installed snapshot passes over: answered from the session.
    OperationPassedOver,
    /// A node's session came and went in what an installed snapshot passes over: whether the operation was done nobody knows.
    OperationLostSight,
    /// A member that was sent a snapshot goes on with the log.
    ServedFromLogAgain,
    /// A member that was sent a snapshot has made no progress for long.
    ServedNoMore,
    /// A member that was sent a snapshot would need more of the log than is kept for anybody.
    ServedTooFarBehind,
    /// A part of a snapshot that was sent before is asked for again too soon.
    PartSentBefore,
    /// Another node than the leader sent the last part of a snapshot, and is asked again.
    SourceAskedAgain,
}

static REACHED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

thread_local! {
    static UNSEEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs something whose marks do not count: a schedule that no rule but its own judges.
pub fn unseen<T>(run: impl FnOnce() -> T) -> T {
    let before = UNSEEN.replace(true);
    let done = run();
    UNSEEN.set(before);
    done
}

impl Mark {
    /// Records that the branch was taken.
    #[inline]
    pub fn hit(self) {
        let (word, bit) = (self as usize / 64, 1 << (self as usize % 64));
        if REACHED[word].load(Ordering::Relaxed) & bit == 0 && !UNSEEN.get() {
            REACHED[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the branch was taken since this process started.
    pub fn reached(self) -> bool {
        REACHED[self as usize / 64].load(Ordering::Relaxed) >> (self as usize % 64) & 1 == 1
    }
}

const _: () = assert!(Mark::ALL.len() <= 128);
