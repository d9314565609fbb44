//! What a futex call says of the lock behind it.
//!
//! The kernel knows words in memory, not locks. But each kind of lock uses them in its own way; the
//! ways here are those of glibc since 2.34 (`nptl/`, `sysdeps/nptl/lowlevellock*.h`):
//!
//! | lock | waits by | with the value |
//! | --- | --- | --- |
//! | mutex | `WAIT`; with a timeout `WAIT_BITSET` | 2: locked, and somebody waits |
//! | mutex with priority inheritance | `LOCK_PI`, `LOCK_PI2` | |
//! | read-write lock | `WAIT_BITSET`, `CLOCK_REALTIME` even without a timeout | 2 or 3: a phase, and somebody waits |
//! | condition variable, semaphore | `WAIT_BITSET`, likewise | 0: no signal, no token |
//! | barrier | `WAIT` | the number of the round |
//! | `pthread_join` | `WAIT_BITSET` on a word that is not private | the tid |
//!
//! glibc does not use the calls of their own that `futex2` brought, so those only say that it is a futex. One of them,
//! `futex_waitv`, waits for several words: it counts for the one that ended it, or if none did for the first.
//!
//! Other libraries may use the same operations otherwise, so what the stack says goes first.

use kindling_format::syscalls;
use serde::{Serialize, Serializer};

const WAIT: u64 = 0;
const WAKE: u64 = 1;
const REQUEUE: u64 = 3;
const CMP_REQUEUE: u64 = 4;
const WAKE_OP: u64 = 5;
const LOCK_PI: u64 = 6;
const UNLOCK_PI: u64 = 7;
const WAIT_BITSET: u64 = 9;
const WAKE_BITSET: u64 = 10;
const WAIT_REQUEUE_PI: u64 = 11;
const CMP_REQUEUE_PI: u64 = 12;
const LOCK_PI2: u64 = 13;
const PRIVATE: u64 = 128;
const CLOCK_REALTIME: u64 = 256;

/// A kind of lock, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKind {
    /// One thread holds it at a time.
    Mutex,
    /// The same, and the kernel lends the holder the waiters' priority.
    PiMutex,
    /// Held by one writer or several readers.
    Rwlock,
    /// Threads wait for a signal of another one.
    Condvar,
    /// Threads wait for a token.
    Semaphore,
    /// One of the two: glibc waits for both in the same way.
    CondvarOrSemaphore,
    /// Threads wait until all are there.
    Barrier,
    /// A thread waits for another to end.
    Join,
    /// A thread waits until another lets it go on, mostly because it has nothing to do.
    Park,
    /// A word that is waited on, for a purpose that is not known.
    Futex,
}

impl LockKind {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            LockKind::Mutex => "mutex",
            LockKind::PiMutex => "pi_mutex",
            LockKind::Rwlock => "rwlock",
            LockKind::Condvar => "condvar",
            LockKind::Semaphore => "semaphore",
            LockKind::CondvarOrSemaphore => "condvar_or_semaphore",
            LockKind::Barrier => "barrier",
            LockKind::Join => "join",
            LockKind::Park => "park",
            LockKind::Futex => "futex",
        }
    }

    /// Whether one thread has it at a time, so that who lets go of it is who held it.
    pub fn is_exclusive(self) -> bool {
        matches!(self, LockKind::Mutex | LockKind::PiMutex)
    }

    /// The kind that a function of the stack names, innermost first.
    pub fn of_functions<'a>(functions: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let kinds = [
            ("pthread_cond_", LockKind::Condvar),
            ("sem_wait", LockKind::Semaphore),
            ("sem_timedwait", LockKind::Semaphore),
            ("sem_clockwait", LockKind::Semaphore),
            ("pthread_rwlock_", LockKind::Rwlock),
            ("pthread_barrier_", LockKind::Barrier),
            ("pthread_mutex_", LockKind::Mutex),
            ("lll_lock_wait", LockKind::Mutex),
            ("pthread_join", LockKind::Join),
            ("pthread_clockjoin", LockKind::Join),
            // Rust's standard library, as it is and as it was, and the crate parking_lot.
            ("mutex::futex::Mutex", LockKind::Mutex),
            ("futex_mutex::Mutex", LockKind::Mutex),
            ("raw_mutex::RawMutex", LockKind::Mutex),
            ("condvar::futex::Condvar", LockKind::Condvar),
            ("futex_condvar::Condvar", LockKind::Condvar),
            ("parking_lot::condvar::Condvar", LockKind::Condvar),
            ("rwlock::futex::RwLock", LockKind::Rwlock),
            ("futex_rwlock::RwLock", LockKind::Rwlock),
            ("raw_rwlock::RawRwLock", LockKind::Rwlock),
            ("futex::Parker", LockKind::Park),
            // Go's runtime: its own locks, and threads without a goroutine to run. Goroutines wait without the kernel.
            ("runtime.lock2", LockKind::Mutex),
            ("runtime.notesleep", LockKind::Park),
            ("runtime.notetsleep", LockKind::Park),
        ];
        functions.into_iter().find_map(|function| {
            let named = kinds.iter().find(|(part, _)| function.contains(part));
            named.map(|(_, kind)| *kind)
        })
    }
}

impl Serialize for LockKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What a call does to the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Waits on it, as this kind of lock does.
    Wait(LockKind),
    /// Wakes threads that wait on it, or hands it on.
    Wake,
}

/// A futex call, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutexCall {
    /// The word that stands for the lock: of those that one lock may use, always the same.
    pub word: u64,
    /// Whether only threads of one process use it.
    pub private: bool,
    /// What the call does.
    pub action: Action,
}

impl FutexCall {
    /// Understands `futex(2)` by its first four arguments; `None` if it neither waits nor wakes.
    pub fn new([word, op, value, timeout]: [u64; 4]) -> Option<Self> {
        let private = op & PRIVATE != 0;
        // The argument is an int: the upper half of the register may hold anything.
        let value = value & 0xffff_ffff;
        let realtime = op & CLOCK_REALTIME != 0;
        let action = match op & 0x7f {
            WAIT if value == 2 => Action::Wait(LockKind::Mutex),
            WAIT => Action::Wait(LockKind::Futex),
            LOCK_PI | LOCK_PI2 => Action::Wait(LockKind::PiMutex),
            WAIT_REQUEUE_PI => Action::Wait(LockKind::Condvar),
            WAIT_BITSET => Action::Wait(match value {
                0 if realtime || timeout != 0 => LockKind::CondvarOrSemaphore,
                2 | 3 if realtime && timeout == 0 => LockKind::Rwlock,
                2 => LockKind::Mutex,
                3 if realtime => LockKind::Rwlock,
                _ if realtime && !private => LockKind::Join,
                _ => LockKind::Futex,
            }),
            WAKE | WAKE_BITSET | WAKE_OP | REQUEUE | CMP_REQUEUE | CMP_REQUEUE_PI | UNLOCK_PI => {
                Action::Wake
            }
            _ => return None,
        };
        Some(Self {
            word,
            private,
            action,
        })
    }

    /// The word under which waits of this kind are counted. Condition variables and read-write locks
    /// have two, side by side at a multiple of eight, and use them in turn.
    pub fn home(word: u64, kind: LockKind) -> u64 {
        match kind {
            LockKind::Condvar | LockKind::CondvarOrSemaphore | LockKind::Rwlock => word & !7,
            _ => word,
        }
    }

    /// Whether only the second word of a condition variable can lie there: a semaphore has one word, at
    /// a multiple of eight.
    pub fn is_second_word(word: u64) -> bool {
        word % 8 == 4
    }
}

/// The calls of an architecture that wait on a word or wake who does, by their numbers.
#[derive(Debug, Clone, Copy)]
pub struct FutexCalls {
    futex: Option<u16>,
    wait: Option<u16>,
    wake: Option<u16>,
    waitv: Option<u16>,
    requeue: Option<u16>,
}

/// A `struct futex_waitv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The value that the word is expected to have.
    pub value: u64,
    /// The word's address.
    pub word: u64,
    /// Its flags: `FUTEX2_PRIVATE`, its size.
    pub flags: u32,
}

/// The elements of an array of `struct futex_waitv`, as far as they are whole.
pub fn waiters(data: &[u8]) -> impl Iterator<Item = Waiter> {
    data.chunks_exact(24).filter_map(|element| {
        let wide = |at: usize| Some(u64::from_le_bytes(*element.get(at..)?.first_chunk()?));
        Some(Waiter {
            value: wide(0)?,
            word: wide(8)?,
            flags: u32::from_le_bytes(*element.get(16..)?.first_chunk()?),
        })
    })
}

impl FutexCalls {
    /// The calls of this architecture.
    pub fn of(arch: &str) -> Self {
        let number = |name| syscalls::named(arch, name).map(|spec| spec.nr);
        Self {
            futex: number("futex"),
            wait: number("futex_wait"),
            wake: number("futex_wake"),
            waitv: number("futex_waitv"),
            requeue: number("futex_requeue"),
        }
    }

    /// Whether this is one of them that says all by its arguments.
    pub fn contains(&self, nr: u16) -> bool {
        [self.futex, self.wait, self.wake].contains(&Some(nr))
    }

    /// Whether this is one of them whose first argument points to what it is about.
    pub fn points(&self, nr: u16) -> bool {
        [self.waitv, self.requeue].contains(&Some(nr))
    }

    /// Understands a call by what its first argument points to, and what it returned.
    pub fn understand_pointed(&self, nr: u16, data: &[u8], ret: Option<i64>) -> Option<FutexCall> {
        let is_wait = self.waitv == Some(nr);
        let ended_by = ret
            .filter(|_| is_wait)
            .and_then(|ret| usize::try_from(ret).ok());
        // What a requeue takes waiters from is the first of its two.
        let waiter = waiters(data).nth(ended_by.unwrap_or(0))?;
        Some(FutexCall {
            word: waiter.word,
            private: u64::from(waiter.flags) & PRIVATE != 0,
            action: match is_wait {
                true => Action::Wait(LockKind::Futex),
                false => Action::Wake,
            },
        })
    }

    /// Understands a call by its number and first four arguments; `None` if it neither waits nor wakes.
    pub fn understand(&self, nr: u16, args: [u64; 4]) -> Option<FutexCall> {
        let nr = Some(nr);
        if nr == self.futex {
            return FutexCall::new(args);
        }
        let [word, _, _, flags] = args;
        let is_wait = nr == self.wait;
        (is_wait || nr == self.wake).then_some(FutexCall {
            word,
            private: flags & PRIVATE != 0,
            action: match is_wait {
                true => Action::Wait(LockKind::Futex),
                false => Action::Wake,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_tell_kinds_apart() {
        use LockKind::*;
        let wait = |kind| Some(Action::Wait(kind));
        let cases = [
            ([8, 128, 2, 0], wait(Mutex)),
            ([8, 0, 2, 0], wait(Mutex)),
            ([8, 128, 17, 0], wait(Futex)),
            ([8, 9 | 128 | 256, 2, 0x7f00], wait(Mutex)),
            ([8, 9 | 128 | 256, 2, 0], wait(Rwlock)),
            ([8, 9 | 128 | 256, 3, 0], wait(Rwlock)),
            ([8, 9 | 128, 3, 0], wait(Futex)),
            ([8, 9 | 128 | 256, 0, 0], wait(CondvarOrSemaphore)),
            (
                [8, 9 | 128, 0xdead_0000_0000, 0x7f00],
                wait(CondvarOrSemaphore),
            ),
            ([8, 9 | 128, 0, 0], wait(Futex)),
            ([8, 9 | 256, 4711, 0], wait(Join)),
            ([8, 6 | 128, 0, 0], wait(PiMutex)),
            ([8, 11 | 128, 0, 0], wait(Condvar)),
            ([8, 1 | 128, 1, 0], Some(Action::Wake)),
            ([8, 7 | 128, 0, 0], Some(Action::Wake)),
            ([8, 2, 0, 0], None),
            ([8, 99, 0, 0], None),
        ];
        for (args, action) in cases {
            let call = FutexCall::new(args);
            assert_eq!(call.map(|call| call.action), action, "{args:?}");
        }
        assert!(FutexCall::new([8, 128, 2, 0]).unwrap().private);
        assert_eq!(FutexCall::home(12, CondvarOrSemaphore), 8);
        assert_eq!(FutexCall::home(12, Mutex), 12);
    }

    #[test]
    fn calls_of_their_own_are_understood_too() {
        let calls = FutexCalls::of("x86_64");
        let understood = |nr, args| {
            let call: Option<FutexCall> = calls.understand(nr, args);
            call.map(|call| (call.word, call.private, call.action))
        };
        let wait = Action::Wait(LockKind::Futex);
        let (futex, wake2, wait2, requeue2) = (202, 454, 455, 456);
        assert_eq!(
            understood(wait2, [8, 2, !0, 2 | 128]),
            Some((8, true, wait))
        );
        assert_eq!(
            understood(wake2, [8, !0, 1, 2]),
            Some((8, false, Action::Wake))
        );
        assert_eq!(
            understood(futex, [8, 1, 1, 0]),
            Some((8, false, Action::Wake))
        );
        assert_eq!(understood(requeue2, [8, 0, 1, 1]), None);
        assert!(calls.contains(wait2) && !calls.contains(requeue2));
        let waitv = 449;
        assert!(calls.points(requeue2) && calls.points(waitv) && !calls.points(futex));
        let mut two = [0; 50];
        two[8] = 0x10;
        two[32] = 0x20;
        two[40] = 0x82;
        let pointed = |nr, data, ret| {
            let call = calls.understand_pointed(nr, data, ret);
            call.map(|call| (call.word, call.private, call.action))
        };
        assert_eq!(pointed(waitv, &two, Some(1)), Some((0x20, true, wait)));
        assert_eq!(pointed(waitv, &two, Some(-110)), Some((0x10, false, wait)));
        assert_eq!(pointed(waitv, &two, Some(2)), None);
        assert_eq!(pointed(waitv, &two[..23], Some(0)), None);
        assert_eq!(
            pointed(requeue2, &two, Some(1)),
            Some((0x10, false, Action::Wake))
        );
    }

    #[test]
    fn functions_name_kinds() {
        let stack = ["futex_wait", "__GI___lll_lock_wait", "main"];
        assert_eq!(LockKind::of_functions(stack), Some(LockKind::Mutex));
        let stack = ["__new_sem_wait_slow64", "pthread_cond_wait"];
        assert_eq!(LockKind::of_functions(stack), Some(LockKind::Semaphore));
        assert_eq!(LockKind::of_functions(["__futex_abstimed"]), None);
        let condvar = [
            "std::sys::pal::unix::futex::futex_wait",
            "<std::sys::sync::condvar::futex::Condvar>::wait_optional_timeout",
            "<std::sync::mpmc::Receiver<T>>::recv",
        ];
        assert_eq!(LockKind::of_functions(condvar), Some(LockKind::Condvar));
        let relock = ["std::sys::sync::mutex::futex::Mutex::lock_contended"];
        let relock = relock.into_iter().chain(condvar);
        assert_eq!(LockKind::of_functions(relock), Some(LockKind::Mutex));
        let idle = ["runtime.futexsleep", "runtime.notesleep", "runtime.mPark"];
        assert_eq!(LockKind::of_functions(idle), Some(LockKind::Park));
    }
}
