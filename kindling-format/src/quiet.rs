//! Panics of dependencies on damaged bytes, turned into answers.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None` if it panics, and then nothing is printed.
///
/// The Parquet reader is not written for hostile bytes: a member that it trips over is a damaged
/// member, not a reason to end the program with a backtrace. The process's panic hook is wrapped
/// once; panics elsewhere reach the hook that was there before.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    static WRAP_HOOK: Once = Once::new();
    WRAP_HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                previous(info);
            }
        }));
    });
    let was_quiet = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(was_quiet);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_others_are_still_seen() {
        assert_eq!(catch(|| 5), Some(5));
        assert_eq!(catch(|| -> u8 { panic!("not printed") }), None);
        assert!(!QUIET.get());
        assert_eq!(catch(|| catch(|| -> u8 { panic!("inner") })), Some(None));
    }
}
