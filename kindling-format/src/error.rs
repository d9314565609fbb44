//! What can go wrong with a capture, told apart by what the reader of the message should do.

/// An error of reading or writing a capture.
///
/// An unfinished capture is not an error: it is a state, [`crate::Completion::Unfinished`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are not a capture at all.
    #[error("not a Kindling capture: {found}")]
    NotACapture {
        /// What was found instead.
        found: String,
    },
    /// The capture was written by a newer major version of the format.
    #[error(
        "the capture has format {found}, this program reads up to {supported}: use a newer Kindling"
    )]
    Newer {
        /// The capture's version.
        found: crate::FormatVersion,
        /// The newest version that this crate reads.
        supported: crate::FormatVersion,
    },
    /// A part of the capture does not hold what its checksum or its structure promises.
    #[error("{member} at byte {at}: {what}")]
    Damaged {
        /// The member, or the part of the container.
        member: String,
        /// Where it begins in the file.
        at: u64,
        /// What was found and what was expected.
        what: String,
    },
    /// A member is larger than this reader is willing to take into memory.
    #[error("{member}: {what} is {found}, the limit is {limit}")]
    TooLarge {
        /// The member.
        member: String,
        /// Which measure of it.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A member cannot be written: its rows or its name are refused, or an earlier write failed.
    #[error("cannot write {member}: {what}")]
    Encode {
        /// The member.
        member: String,
        /// Why.
        what: String,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl FormatError {
    /// Whether the capture's bytes are to blame, rather than the reader or the machine.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            FormatError::Damaged { .. } | FormatError::TooLarge { .. }
        )
    }

    /// The error without the place that it speaks of.
    pub(crate) fn what(&self) -> String {
        match self {
            FormatError::Damaged { what, .. } => what.clone(),
            FormatError::TooLarge {
                what, found, limit, ..
            } => format!("{what} is {found}, the limit is {limit}"),
            other => other.to_string(),
        }
    }
}
