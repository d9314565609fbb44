//! What the kernel side is taught of unwinding: from a frame to its caller, address by address. It asks
//! with the memory of a stack that it cannot walk yet.

use std::{collections::BTreeMap, ops::Range};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::raw::layout::{kd_unwind_key, kd_unwind_rule};

/// More rules are not remembered: twice of what the kernel side keeps (`unwind_rules` in `maps.bpf.h`). A
/// compiler at run time makes code at new addresses for ever.
const MOST: usize = 65_536;

/// Where a caller's stack begins; `enum kd_unwind_base` in `kindling.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Base {
    Sp = 1,
    Bp = 2,
    /// There is no caller.
    End = 3,
    /// Neither register tells.
    Otherwise = 4,
}

/// How to get from the frame at an address to its caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) base: Base,
    /// From the base to the beginning of the caller's stack, behind the return address.
    pub(crate) cfa: i32,
    /// From there to where the caller's `bp` is; 0: it is unchanged.
    pub(crate) bp: i16,
}

impl Rule {
    /// A rule of these that says nothing of registers.
    pub(crate) fn of(base: Base) -> Self {
        Self {
            base,
            cfa: 0,
            bp: 0,
        }
    }
}

/// The kernel side's rules (`unwind_rules` in `maps.bpf.h`), and which it was taught.
#[derive(Debug)]
pub(crate) struct UnwindRules {
    map: MapHandle,
    /// By process and address, of which program it was.
    taught: BTreeMap<(u32, u64), u32>,
}

impl UnwindRules {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self {
            map,
            taught: BTreeMap::new(),
        }
    }

    /// Tells the rule of an address in a process, while that runs this program.
    pub(crate) fn teach(&mut self, pid: u32, program: u32, address: u64, rule: Rule) {
        if self.taught.len() >= MOST {
            // A rule that is not remembered could not be taken away; what is needed is asked for again.
            for ((pid, address), program) in std::mem::take(&mut self.taught) {
                let _ = self.map.delete(&key(pid, program, address));
            }
        }
        let mut value = [0; size_of::<kd_unwind_rule>()];
        value[..4].copy_from_slice(&rule.cfa.to_ne_bytes());
        value[4..6].copy_from_slice(&rule.bp.to_ne_bytes());
        value[6] = rule.base as u8;
        let told = self
            .map
            .update(&key(pid, program, address), &value, MapFlags::ANY);
        // Without the rule it asks again.
        if told.is_ok() {
            self.taught.insert((pid, address), program);
        }
    }

    /// Other code is at these addresses now.
    pub(crate) fn forget(&mut self, pid: u32, addresses: Range<u64>) {
        let stale = self
            .taught
            .range((pid, addresses.start)..(pid, addresses.end));
        let stale: Vec<(u64, u32)> = stale
            .map(|(&(_, address), &program)| (address, program))
            .collect();
        for (address, program) in stale {
            self.taught.remove(&(pid, address));
            // It may have been pushed out.
            let _ = self.map.delete(&key(pid, program, address));
        }
    }
}

fn key(pid: u32, program: u32, address: u64) -> [u8; size_of::<kd_unwind_key>()] {
    let mut key = [0; size_of::<kd_unwind_key>()];
    key[..8].copy_from_slice(&address.to_ne_bytes());
    key[8..12].copy_from_slice(&pid.to_ne_bytes());
    key[12..].copy_from_slice(&program.to_ne_bytes());
    key
}
