//! The order of a member's rows.

use std::{collections::HashMap, hash::Hash};

/// The order in which collected rows are written.
#[derive(Debug)]
pub enum Order {
    /// As they were appended.
    AsIs,
    /// By these row numbers.
    By(Vec<u32>),
}

impl Order {
    /// The order of `rows` rows by rising `key`, of which `group` is the first part; rows of equal
    /// keys stay in the order in which they came.
    ///
    /// The rows of one group (a thread, a CPU) mostly come in the order of time, so putting the
    /// groups one after another mostly sorts them: that takes a tenth of a comparison sort.
    pub(crate) fn of<G: Hash + Ord + Copy, K: Ord>(
        rows: u32,
        group: impl Fn(u32) -> G,
        key: impl Fn(u32) -> K + Copy,
    ) -> Self {
        if (0..rows).is_sorted_by_key(key) {
            return Order::AsIs;
        }
        let mut order = group_rows(rows, group);
        if !order.is_sorted_by_key(|&row| key(row)) {
            // Stable, and quick where most is in order.
            order.sort_by_key(|&row| key(row));
        }
        Order::By(order)
    }

    /// Puts the values into `out` in this order, each as `word` has it.
    pub(super) fn gather<T: Copy, W>(&self, values: &[T], out: &mut Vec<W>, word: impl Fn(T) -> W) {
        out.clear();
        match self {
            Order::AsIs => out.extend(values.iter().map(|&value| word(value))),
            Order::By(rows) => out.extend(rows.iter().map(|&row| word(values[row as usize]))),
        }
    }

    /// Calls `each` with the numbers of `count` rows in this order, of 64 at a time: what is called for each
    /// row by itself is not inlined.
    pub(super) fn some(&self, count: usize, mut each: impl FnMut(&[u32])) {
        const AT_ONCE: usize = 64;
        match self {
            Order::AsIs => {
                let mut rows = [0; AT_ONCE];
                for start in (0..count).step_by(AT_ONCE) {
                    let rows = &mut rows[..AT_ONCE.min(count - start)];
                    (start as u32..)
                        .zip(&mut *rows)
                        .for_each(|(number, row)| *row = number);
                    each(rows);
                }
            }
            Order::By(rows) => rows.chunks(AT_ONCE).for_each(each),
        }
    }

    /// Calls `each` with the numbers of `count` rows in this order.
    pub(super) fn each(&self, count: usize, mut each: impl FnMut(usize)) {
        match self {
            Order::AsIs => (0..count).for_each(&mut each),
            Order::By(rows) => rows.iter().for_each(|&row| each(row as usize)),
        }
    }
}

/// The rows group by group, in rising order of the groups.
fn group_rows<G: Hash + Ord + Copy>(rows: u32, group: impl Fn(u32) -> G) -> Vec<u32> {
    let mut numbers = HashMap::new();
    let mut sizes: Vec<(G, u32)> = Vec::new();
    let mut last = None;
    let of_row: Vec<u32> = (0..rows)
        .map(|row| {
            let group = group(row);
            let number = match last {
                Some((last_group, number)) if last_group == group => number,
                _ => *numbers.entry(group).or_insert_with(|| {
                    sizes.push((group, 0));
                    sizes.len() - 1
                }),
            };
            last = Some((group, number));
            sizes[number].1 += 1;
            number as u32
        })
        .collect();
    let mut by_group: Vec<usize> = (0..sizes.len()).collect();
    by_group.sort_unstable_by_key(|&number| sizes[number].0);
    let mut next = vec![0; sizes.len()];
    let mut start = 0;
    for number in by_group {
        next[number] = start;
        start += sizes[number].1;
    }
    let mut order = vec![0; rows as usize];
    for (row, number) in of_row.into_iter().enumerate() {
        let place = &mut next[number as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_group_then_key_and_stay_stable() {
        let check = |rows: &[(u32, i64)]| {
            let key = |row: u32| rows[row as usize];
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            expected.sort_by_key(|&row| key(row));
            let order = match Order::of(rows.len() as u32, |row| key(row).0, key) {
                Order::AsIs => (0..rows.len() as u32).collect(),
                Order::By(order) => order,
            };
            assert_eq!(order, expected, "{rows:?}");
        };
        check(&[]);
        check(&[(1, 1), (1, 2), (2, 0)]);
        check(&[(7, 1), (3, 2), (7, 3), (3, 4), (5, 9)]);
        check(&[(7, 5), (3, 2), (7, 3), (3, 1), (7, 5), (3, 1)]);
    }
}
