//! The thread that names code. Reading symbols takes seconds at times; events do not wait for it, so
//! the names of a segment's stacks come with a later one.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use anyhow::{Result, anyhow};
use kindling_format::{EncodedMember, FormatError};

use crate::{
    batch::Code,
    scheduling::{self, Class},
    symbols::Symbols,
    unwind_rules::UnwindRules,
};

/// What becomes of code that later rows may refer to again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is told once: there is one file.
    Nothing,
    /// It is told, and kept to be repeated for the next file.
    Also,
    /// It is kept, and told only when it is asked for.
    Only,
}

enum Work {
    Code(Code),
    /// All that was kept is to be told.
    Repeat,
}

/// The rows of one batch of code.
pub(crate) struct Named {
    pub(crate) members: Vec<EncodedMember>,
    /// Whether they are all code that was kept, because a file asked for it.
    pub(crate) is_repeat: bool,
}

/// The thread, and the way to it. What comes out is in the order of what went in.
pub(crate) struct Namer {
    work: Sender<Work>,
    named: Receiver<Result<Named, FormatError>>,
}

impl Namer {
    pub(crate) fn start(keep: Keep, rules: Option<UnwindRules>) -> Self {
        let (work, waiting) = channel();
        let (done, named) = channel();
        std::thread::spawn(move || {
            scheduling::set(scheduling::own_tid(), Class::Batch);
            let mut symbols = Symbols::new(keep, rules);
            for work in waiting {
                let (rows, is_repeat) = match work {
                    Work::Code(code) => (symbols.rows(code), false),
                    Work::Repeat => (symbols.repeat(), true),
                };
                let members = rows.encode();
                let named = members.map(|members| Named { members, is_repeat });
                if done.send(named).is_err() {
                    return;
                }
            }
        });
        Self { work, named }
    }

    pub(crate) fn send(&self, code: Code) {
        // If the thread has failed, `ready` or `finish` say so: its results end.
        let _ = self.work.send(Work::Code(code));
    }

    /// Asks for all code so far: it comes behind what was sent before.
    pub(crate) fn repeat(&self) {
        let _ = self.work.send(Work::Repeat);
    }

    /// The next rows, if they are ready.
    ///
    /// # Errors
    /// If they cannot be encoded, or the thread has failed.
    pub(crate) fn ready(&self) -> Result<Option<Named>> {
        match self.named.try_recv() {
            Ok(named) => Ok(Some(named?)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(anyhow!("the thread that names code failed")),
        }
    }

    /// All other rows: waits for them.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub(crate) fn finish(&mut self) -> Result<Vec<Named>> {
        // The thread ends when nobody can send it more.
        drop(std::mem::replace(&mut self.work, channel().0));
        Ok(self.named.iter().collect::<Result<_, _>>()?)
    }
}
