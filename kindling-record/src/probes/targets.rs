//! The target: which processes it is, and the iterator over tasks that marks their threads and tells their
//! state.

use std::io::Read;

use anyhow::{Context, Result};
use libbpf_rs::{Iter, MapCore, MapFlags};

use super::Probes;

/// `PHASE_END` in `maps.bpf.h`.
const PHASE_END: u32 = 1;
/// `PHASE_FIND` and `PHASE_LOOK` there.
const PHASE_FIND: u32 = 0;
const PHASE_LOOK: u32 = 2;
/// `PHASE_DUMP` there.
const PHASE_DUMP: u32 = 3;
/// How often the iterator looks for threads that were born while it ran.
const FIND_ROUNDS: usize = 8;

/// How a process of the target is found, as in `maps.bpf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// It runs: the syscalls that its threads are in belong to it.
    Running = 1,
    /// It is the command, waiting to be executed.
    Held = 2,
}

impl Probes<'_> {
    /// Adds a process to the target, with all its threads and its children from now on. Returns how
    /// many threads were found.
    ///
    /// # Errors
    /// If the kernel's list of targets is full or the iterator fails.
    pub(crate) fn add_target(&mut self, pid: u32, kind: TargetKind) -> Result<u64> {
        self.skeleton
            .maps
            .targets
            .update(&pid.to_ne_bytes(), &[kind as u8], MapFlags::ANY)
            .with_context(|| format!("cannot add process {pid} to the target"))?;
        self.find_threads()
    }

    /// Adds every process of these names and cgroups to the target, now and from now on.
    ///
    /// # Errors
    /// If the kernel's lists of targets are full or the iterator fails.
    pub(crate) fn add_open_targets(&mut self, comms: &[String], cgroups: &[u64]) -> Result<u64> {
        let maps = &self.skeleton.maps;
        for comm in comms {
            maps.target_comms
                .update(&comm_key(comm), &[1], MapFlags::ANY)
                .with_context(|| format!("cannot add the name {comm} to the target"))?;
        }
        for &cgroup in cgroups {
            self.add_cgroup(cgroup)?;
        }
        self.find_threads()
    }

    /// Adds every process that comes into a cgroup from now on.
    ///
    /// # Errors
    /// If the kernel's list of cgroups is full.
    pub(crate) fn add_cgroup(&self, id: u64) -> Result<()> {
        let cgroups = &self.skeleton.maps.target_cgroups;
        cgroups
            .update(&id.to_ne_bytes(), &[1], MapFlags::ANY)
            .context("cannot add a cgroup to the target")
    }

    /// Looks for the other threads of processes that joined the target since the last call.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn find_joined(&mut self) -> Result<()> {
        let joined = self
            .skeleton
            .maps
            .bss_data
            .as_deref()
            .map_or(0, |bss| bss.joined);
        if joined != self.joined {
            self.joined = joined;
            self.find_threads()?;
        }
        Ok(())
    }

    /// Marks all threads of the target that exist, until no new one turns up.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn find_threads(&mut self) -> Result<u64> {
        let mut found = 0;
        for _ in 0..FIND_ROUNDS {
            if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
                bss.iter_marked = 0;
            }
            self.iterate()?;
            let marked = self
                .skeleton
                .maps
                .bss_data
                .as_deref()
                .map_or(0, |bss| bss.iter_marked);
            found += marked;
            if marked == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// Has the state of the target's threads sent once more.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn look_again(&mut self) -> Result<()> {
        self.look(PHASE_LOOK)
    }

    /// As [`Probes::look_again`], and the calls that threads are in, which go on.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn look_at_calls(&mut self) -> Result<()> {
        self.look(PHASE_DUMP)
    }

    fn look(&mut self, phase: u32) -> Result<()> {
        self.set_phase(phase);
        let looked = self.iterate();
        self.set_phase(PHASE_FIND);
        looked
    }

    fn set_phase(&mut self, phase: u32) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.iter_phase = phase;
        }
    }

    /// Has the open syscalls and the threads' accounts sent, when nothing else comes any more.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(super) fn tell_end(&mut self) -> Result<()> {
        self.set_phase(PHASE_END);
        self.iterate()
    }

    fn iterate(&self) -> Result<()> {
        let Some(link) = &self.iterator else {
            return Ok(());
        };
        let mut iterator = Iter::new(link).context("cannot run the task iterator")?;
        let mut output = Vec::new();
        iterator
            .read_to_end(&mut output)
            .context("cannot run the task iterator")?;
        Ok(())
    }
}

/// A name as the kernel keeps it: at most 15 bytes, and zeros.
fn comm_key(comm: &str) -> [u8; 16] {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().take(15).zip(comm.bytes()) {
        *to = from;
    }
    key
}
