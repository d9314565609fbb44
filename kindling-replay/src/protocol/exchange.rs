//! A request with its answer, as one end of a connection sees them.

use std::{collections::VecDeque, ops::AddAssign, sync::Arc};

use super::{Mark, Transfer};

/// A request with what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The operation; `?` if the request's bytes were not recorded.
    pub endpoint: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it failed or has no answer.
    pub error: Option<Box<str>>,
    /// The protocol's status code, if it has one.
    pub status: Option<u16>,
    /// The request's bytes.
    pub request: Span,
    /// The response's bytes, if there was one.
    pub response: Option<Span>,
    /// Whether the pairing rests on an assumption because bytes were not recorded.
    pub inferred: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// It was answered with an error.
    Error,
    /// It was not, or not wholly, answered until the connection or the recording ended.
    NoAnswer,
    /// The protocol gives no answer to it.
    OneWay,
    /// It may have been answered: what the server sent was not recorded.
    Unknown,
}

/// The bytes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte in the stream.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// The syscall that moved the first byte.
    pub first: Transfer,
    /// The syscall that moved the last byte.
    pub last: Transfer,
}

impl Span {
    pub(super) fn at(mark: Mark) -> Self {
        let Mark { offset, transfer } = mark;
        Self {
            start: offset,
            end: offset,
            first: transfer,
            last: transfer,
        }
    }

    pub(super) fn extend(&mut self, mark: Mark) {
        self.end = self.end.max(mark.offset);
        self.last = mark.transfer;
    }

    /// The message's length.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// How often bytes that were not recorded made messages of a connection uncertain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Places where requests could not be followed.
    pub lost_requests: u64,
    /// Places where responses could not be followed.
    pub lost_responses: u64,
    /// Responses to requests from before the recording, or that were not recorded.
    pub unmatched_responses: u64,
}

impl AddAssign for Doubts {
    fn add_assign(&mut self, other: Self) {
        self.lost_requests += other.lost_requests;
        self.lost_responses += other.lost_responses;
        self.unmatched_responses += other.unmatched_responses;
    }
}

/// The exchanges of a conversation that were not taken yet. Each keeps its index.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    list: VecDeque<Exchange>,
    /// The index of the first that is there.
    first: usize,
}

impl Exchanges {
    /// Adds one behind the others; tells its index.
    pub(super) fn push(&mut self, exchange: Exchange) -> usize {
        self.list.push_back(exchange);
        self.first + self.list.len() - 1
    }

    /// The exchange with this index.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Exchange> {
        self.list.get_mut(index.checked_sub(self.first)?)
    }

    /// Takes those before an index, or all.
    pub(super) fn take(&mut self, until: Option<usize>) -> Vec<Exchange> {
        let count = until.map_or(self.list.len(), |until| until.saturating_sub(self.first));
        let taken: Vec<Exchange> = self.list.drain(..count.min(self.list.len())).collect();
        self.first += taken.len();
        taken
    }
}
