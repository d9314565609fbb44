//! A thread waits a known number of times for each thing that Rust's standard library waits on; prints where these are
//! and how long the thread took for the waits.
//!
//! usage: `rust_locks MILLISECONDS ROUNDS`

use std::{
    fs,
    sync::{
        Condvar, Mutex, RwLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

static MUTEX: Mutex<()> = Mutex::new(());
static RWLOCK: RwLock<()> = RwLock::new(());
static CONDVAR: Condvar = Condvar::new();
static TURN: Mutex<u32> = Mutex::new(0);
/// How often the main thread has taken a lock that the other is to wait for.
static TAKEN: AtomicU32 = AtomicU32::new(0);

fn await_taken(times: u32) {
    while TAKEN.load(SeqCst) < times {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Takes and keeps something; then leaves it to the other thread for a while.
fn keep<T>(asked: Duration, take: impl Fn() -> T) {
    let taken = take();
    TAKEN.fetch_add(1, SeqCst);
    thread::sleep(asked);
    drop(taken);
    thread::sleep(asked);
}

fn wait(rounds: u32) -> [u128; 4] {
    let mut took = [0; 4];
    let mut timed = |kind: usize, wait: &mut dyn FnMut()| {
        let begin = Instant::now();
        wait();
        took[kind] += begin.elapsed().as_nanos();
    };
    for round in 0..rounds {
        await_taken(round + 1);
        timed(0, &mut || drop(MUTEX.lock()));
    }
    for round in 0..rounds {
        await_taken(rounds + round + 1);
        timed(1, &mut || drop(RWLOCK.read()));
    }
    for round in 0..rounds {
        let mut turn = TURN.lock().ok();
        timed(2, &mut || {
            while turn.as_deref() == Some(&round) {
                turn = turn.take().and_then(|turn| CONDVAR.wait(turn).ok());
            }
        });
    }
    for _ in 0..rounds {
        timed(3, &mut thread::park);
    }
    took
}

fn tid() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap_or_default();
    let name = link.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A lock, and where it lies in memory.
fn place<T>(kind: &str, of: &T) -> String {
    let start = std::ptr::from_ref(of) as usize;
    let end = start + size_of::<T>();
    format!("{{\"kind\": \"{kind}\", \"start\": {start}, \"end\": {end}}}")
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let asked = Duration::from_millis(args.next().unwrap_or(20));
    let rounds = args.next().unwrap_or(5) as u32;
    let waiter = thread::spawn(move || (tid(), wait(rounds)));
    (0..rounds).for_each(|_| keep(asked, || MUTEX.lock()));
    (0..rounds).for_each(|_| keep(asked, || RWLOCK.write()));
    for round in 0..rounds {
        thread::sleep(asked);
        if let Ok(mut turn) = TURN.lock() {
            *turn = round + 1;
        }
        CONDVAR.notify_one();
    }
    for _ in 0..rounds {
        thread::sleep(asked);
        waiter.thread().unpark();
    }
    let (waiter, took) = waiter.join().unwrap_or_default();
    let locks = [
        place("mutex", &MUTEX),
        place("rwlock", &RWLOCK),
        place("condvar", &CONDVAR),
    ];
    println!(
        "{{\"pid\": {}, \"waiter\": {waiter}, \"took_ns\": {took:?}, \"locks\": [{}]}}",
        std::process::id(),
        locks.join(", ")
    );
}
