//! Descriptors that ended a wait, with names.

use std::fmt;

use serde::Serialize;

use crate::model::{catalog::Catalog, file, polls::PollEnd};

/// What a poll found ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ReadyRow {
    /// The first descriptor that it found; `None` if the capture does not tell which.
    pub fd: Option<i32>,
    /// What that is.
    pub file: Option<String>,
    /// What it was ready for: `in`, `out`, `hup`, `err`, …
    pub events: Vec<&'static str>,
    /// Whether the program's own words say which descriptor it is; else epoll's mark was taken for it,
    /// because what it registered was not recorded.
    pub certain: bool,
    /// How many others were ready too; of several polls the most.
    pub others: u64,
}

impl ReadyRow {
    /// What ended a poll.
    pub fn new(catalog: &Catalog, end: &PollEnd) -> Self {
        let file = end.first.file.and_then(|id| catalog.files.get(&id));
        Self {
            fd: end.first.fd,
            file: file.map(file::label),
            events: end.first.events.words(),
            certain: end.first.certain,
            others: end.others,
        }
    }

    /// Takes in what ended another poll, for both together: of different descriptors of one kind it is the kind.
    pub fn merge(&mut self, other: ReadyRow, kind: Option<String>) {
        if (self.fd, &self.file) != (other.fd, &other.file) {
            (self.fd, self.file) = (None, kind);
        }
        self.certain &= other.certain;
        self.others = self.others.max(other.others);
    }
}

/// `fd 7, tcp 127.0.0.1:6379->127.0.0.1:40312 (in) +2`.
impl fmt::Display for ReadyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doubt = if self.certain { "" } else { "?" };
        match (self.fd, &self.file) {
            (Some(fd), Some(file)) => write!(f, "fd {fd}{doubt}, {file}")?,
            (Some(fd), None) => write!(f, "fd {fd}{doubt}")?,
            (None, Some(file)) => write!(f, "{file}")?,
            (None, None) => write!(f, "an unknown fd")?,
        }
        if !self.events.is_empty() {
            write!(f, " ({})", self.events.join(", "))?;
        }
        match self.others {
            0 => Ok(()),
            others => write!(f, " +{others}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_named() {
        let row = |fd, file: Option<&str>, certain, others| ReadyRow {
            fd,
            file: file.map(str::to_owned),
            events: vec!["in", "hup"],
            certain,
            others,
        };
        let cases = [
            (
                row(Some(7), Some("pipe 3"), true, 0),
                "fd 7, pipe 3 (in, hup)",
            ),
            (
                row(Some(7), Some("pipe 3"), false, 0),
                "fd 7?, pipe 3 (in, hup)",
            ),
            (row(Some(7), None, true, 2), "fd 7 (in, hup) +2"),
            (row(None, None, true, 0), "an unknown fd (in, hup)"),
        ];
        for (row, expect) in cases {
            assert_eq!(row.to_string(), expect);
        }
    }
}
