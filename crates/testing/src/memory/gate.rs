//! What goes wrong between client and API server: refused calls, lost answers, a process that dies, one that is overtaken.

use std::sync::Arc;

use tokio::sync::Notify;

use super::request::{Call, Verb};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strike {
    /// Answered with this HTTP status, and nothing is done.
    Refuse(u16),
    /// Done, but the answer never arrives.
    Lose,
    /// Done, and the process dies before it reads the answer.
    Die,
    /// The process is dead: nothing is done any more.
    Dead,
}

/// Counts calls and strikes at one of them.
#[derive(Debug, Default)]
pub struct Gate {
    /// Writes seen so far, events apart.
    pub writes: u32,
    /// Calls seen so far, events apart.
    pub calls: u32,
    /// Events published.
    pub events: u32,
    /// What to do at which write, counted from 1.
    pub at_write: Option<(u32, Strike)>,
    /// What to do at which call, counted from 1.
    pub at_call: Option<(u32, Strike)>,
    /// Before which write to wait; `paused` is told, and `resume` goes on.
    pub pause_at: Option<u32>,
    /// Told when a call waits.
    pub paused: Arc<Notify>,
    /// Lets it go on.
    pub resume: Arc<Notify>,
    /// A kind that may be read by nobody, as when a right is taken away.
    pub unreadable: Option<&'static str>,
    /// Whether the process has died.
    pub dead: bool,
}

impl Gate {
    pub(super) fn pause(&mut self, call: &Call) -> Option<Arc<Notify>> {
        let next = self.writes + 1;
        if call.verb.writes() && self.pause_at == Some(next) {
            self.pause_at = None;
            self.paused.notify_one();
            return Some(self.resume.clone());
        }
        None
    }

    pub(super) fn strike(&mut self, call: &Call) -> Option<Strike> {
        if self.dead {
            return Some(Strike::Dead);
        }
        self.calls += 1;
        self.writes += u32::from(call.verb.writes());
        let write = self.at_write.filter(|(at, _)| call.verb.writes() && *at == self.writes);
        let any = self.at_call.filter(|(at, _)| *at == self.calls);
        let refused = self.unreadable.filter(|kind| *kind == call.kind.name && !call.verb.writes()).map(|_| Strike::Refuse(403));
        write.or(any).map(|(_, strike)| strike).or(refused)
    }
}

impl Verb {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        match self {
            Self::Get | Self::List => false,
            Self::Create | Self::Replace | Self::Merge | Self::Apply | Self::Delete => true,
        }
    }
}
