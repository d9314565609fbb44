//! The capture's ids of stacks. The kernel side knows a stack by its hash and sends it once, until it
//! forgets it among many others.

use std::collections::HashMap;

/// More than these are forgotten: twice of what the kernel side knows (`sent_stacks` in
/// `maps.bpf.h`), so that what is forgotten here is sent again should it come back.
const MOST: usize = 65_536;
/// Stacks of one row each that wait for it. It follows at once, so what waits among more was lost.
const MOST_AWAITED: usize = 1_024;
/// Slices that a stack may still be named in after its last use: those of the window, and one more.
const SLICES: u32 = 10;

#[derive(Debug, Clone, Copy)]
struct Known {
    id: u32,
    /// Whether it was sent: a row of another CPU may name it before.
    is_sent: bool,
    /// The slice in which it was last named.
    used: u32,
}

/// Gives ids to stacks.
#[derive(Debug, Default)]
pub(crate) struct StackIds {
    by_hash: HashMap<u64, Known>,
    awaited: HashMap<u64, u32>,
    last_id: u32,
    slice: u32,
}

impl StackIds {
    /// The id of the stack with this hash; 0 is none.
    #[inline]
    pub(crate) fn id(&mut self, hash: u64) -> Option<u32> {
        if hash == 0 {
            return None;
        }
        let awaited = match self.awaited.is_empty() {
            true => None,
            false => self.awaited.remove(&hash),
        };
        Some(awaited.unwrap_or_else(|| self.known(hash).id))
    }

    /// The id of a stack with a hash of its own, which the next row of its CPU names, and no other.
    pub(crate) fn sent_once(&mut self, hash: u64) -> u32 {
        if self.awaited.len() >= MOST_AWAITED {
            self.awaited.clear();
        }
        self.last_id += 1;
        self.awaited.insert(hash, self.last_id);
        self.last_id
    }

    /// The id of a stack that was sent now; `None` if it was before.
    pub(crate) fn sent(&mut self, hash: u64) -> Option<u32> {
        if hash == 0 {
            return None;
        }
        let known = self.known(hash);
        (!std::mem::replace(&mut known.is_sent, true)).then_some(known.id)
    }

    fn known(&mut self, hash: u64) -> &mut Known {
        let (last_id, slice) = (&mut self.last_id, self.slice);
        let known = self.by_hash.entry(hash).or_insert_with(|| {
            *last_id += 1;
            Known {
                id: *last_id,
                is_sent: false,
                used: slice,
            }
        });
        known.used = slice;
        known
    }

    /// Another slice begins; the ids of stacks that are forgotten, those first that were used the
    /// longest ago.
    pub(crate) fn next_slice(&mut self) -> Vec<u32> {
        self.slice += 1;
        let Some(surplus) = self.by_hash.len().checked_sub(MOST) else {
            return Vec::new();
        };
        let is_old = |known: &Known| known.used + SLICES < self.slice;
        let old = self.by_hash.values().filter(|known| is_old(known));
        let mut old: Vec<(u32, u32)> = old.map(|known| (known.used, known.id)).collect();
        old.sort_unstable();
        old.truncate(surplus);
        let mut ids: Vec<u32> = old.into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        self.by_hash
            .retain(|_, known| ids.binary_search(&known.id).is_err());
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_keeps_its_id_and_is_sent_once() {
        let mut ids = StackIds::default();
        assert_eq!(ids.id(0), None);
        assert_eq!(
            (ids.id(7), ids.id(8), ids.id(7)),
            (Some(1), Some(2), Some(1))
        );
        assert_eq!(
            (ids.sent(7), ids.sent(7), ids.sent(9)),
            (Some(1), None, Some(3))
        );
    }

    #[test]
    fn a_stack_of_one_row_is_forgotten_with_it() {
        let mut ids = StackIds::default();
        for hash in 1..=MOST_AWAITED as u64 * 3 {
            let id = ids.sent_once(hash);
            // Of some the row is lost.
            assert!(hash % 3 == 0 || ids.id(hash) == Some(id), "{hash}");
        }
        assert!(ids.by_hash.is_empty() && ids.awaited.len() <= MOST_AWAITED);
    }

    #[test]
    fn the_stacks_that_were_not_used_for_long_are_forgotten() {
        let mut ids = StackIds::default();
        let count = MOST as u64 + 100;
        let sent = (1..=count).filter_map(|hash| ids.sent(hash));
        assert_eq!(sent.count() as u64, count);
        for _ in 0..SLICES {
            ids.id(1);
            assert!(ids.next_slice().is_empty(), "the window may name them");
        }
        ids.id(1);
        let forgotten = ids.next_slice();
        assert_eq!(forgotten, (2..=101).collect::<Vec<u32>>());
        assert_eq!(ids.id(1), Some(1));
        assert_eq!(ids.sent(2), Some(count as u32 + 1), "it is sent again");
    }
}
