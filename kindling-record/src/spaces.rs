//! The executable mappings of the processes, over time.

use std::collections::HashMap;

use crate::mappings::MappedFile;

/// What is mapped where in each process.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    by_pid: HashMap<u32, Vec<MappedFile>>,
}

impl Spaces {
    /// A process has mapped a file. What was there is still known, for stacks of before.
    pub(crate) fn map(&mut self, map: MappedFile) {
        self.by_pid.entry(map.pid).or_default().push(map);
    }

    /// The mapping of `pid` that held `address` at `ts`: the latest that began before.
    pub(crate) fn find(&self, pid: u32, address: u64, ts: i64) -> Option<&MappedFile> {
        let mapped = self.by_pid.get(&pid)?;
        let holds = |map: &&MappedFile| map.start <= address && address < map.end;
        let mut holding = mapped.iter().rev().filter(holds);
        // A stack that was taken before the mapping's record was written still belongs to it.
        holding
            .clone()
            .find(|map| map.ts <= ts)
            .or_else(|| holding.next())
    }

    /// A child begins with the mappings of its parent.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if let Some(mapped) = self.by_pid.get(&parent).cloned() {
            self.by_pid.insert(child, mapped);
        }
    }

    /// A process has ended, long ago.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    /// All mappings that are known, of processes in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &MappedFile> {
        self.by_pid.values().flatten()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn mapped(ts: i64, start: u64, path: &str) -> MappedFile {
        let end = start + 0x1000;
        MappedFile {
            ts,
            pid: 1,
            start,
            end,
            offset: 0x2000,
            path: path.into(),
            build_id: None,
        }
    }

    #[test]
    fn an_address_belongs_to_the_mapping_of_its_time() {
        let mut spaces = Spaces::default();
        spaces.map(mapped(10, 0x1000, "old"));
        spaces.map(mapped(20, 0x1000, "new"));
        let path = |ts| spaces.find(1, 0x1004, ts).map(|map| map.path.as_str());
        assert_eq!(
            (path(15), path(25), path(5)),
            (Some("old"), Some("new"), Some("new"))
        );
        assert!(spaces.find(1, 0x2000, 25).is_none());
    }
}
