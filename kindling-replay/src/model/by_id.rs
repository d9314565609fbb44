//! What is known of things by their ids.

use std::collections::HashMap;

/// A table by ids. The recorder numbers stacks and frames from 1 on, so most are found by their place.
#[derive(Debug)]
pub struct ById<T> {
    near: Vec<Option<T>>,
    far: HashMap<u32, T>,
    /// Where those begin that are far: a capture of others may have any numbers.
    limit: usize,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T> ById<T> {
    /// An empty table for so many.
    pub fn new(count: usize) -> Self {
        Self {
            near: Vec::new(),
            far: HashMap::new(),
            limit: count.saturating_mul(4),
        }
    }
}

impl<T: Copy> ById<T> {
    /// Keeps what is known of one, instead of what was known before.
    pub fn insert(&mut self, id: u32, value: T) {
        let at = id as usize;
        if at >= self.limit {
            self.far.insert(id, value);
            return;
        }
        if at >= self.near.len() {
            self.near.resize(at + 1, None);
        }
        self.near[at] = Some(value);
    }

    /// What is known of it.
    pub fn get(&self, id: u32) -> Option<T> {
        let near = self.near.get(id as usize).copied().flatten();
        near.or_else(|| self.far.get(&id).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_any_ids() {
        let mut table = ById::new(2);
        for id in [0, 7, 8, u32::MAX] {
            assert_eq!(table.get(id), None);
            table.insert(id, id);
            assert_eq!(table.get(id), Some(id));
        }
        table.insert(7, 1);
        assert_eq!(table.get(7), Some(1));
        assert_eq!((table.near.len(), table.get(3)), (8, None));
    }
}
