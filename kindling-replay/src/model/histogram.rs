//! Latencies of many calls: the buckets of an HdrHistogram of three digits. Small enough to keep one for
//! every file: most have few different ones, and the others get memory where something falls.

/// Each power of two is divided into 2¹⁰ buckets: none is wider than 0.1 % of its values.
const SUB_BITS: u32 = 10;

/// Counts of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Buckets,
    count: u64,
    total_ns: i64,
    max_ns: i64,
}

impl Histogram {
    /// Counts a duration; a negative one, which a damaged capture can have, as 0.
    pub fn record(&mut self, ns: i64) {
        let ns = ns.max(0);
        self.buckets.add(bucket(ns), 1);
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Histogram) {
        for (bucket, count) in other.buckets.iter() {
            self.buckets.add(bucket, count);
        }
        self.count += other.count;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn total_ns(&self) -> i64 {
        self.total_ns
    }

    /// The longest.
    pub fn max_ns(&self) -> i64 {
        self.max_ns
    }

    /// The mean; 0 if there is none.
    pub fn mean_ns(&self) -> i64 {
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        self.total_ns.checked_div(count).unwrap_or(0)
    }

    /// The least duration, to three digits, that so many of a thousand do not exceed; 0 if there is none.
    pub fn per_mille_ns(&self, per_mille: u64) -> i64 {
        let wanted = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1_000);
        let mut seen = 0u128;
        for (bucket, count) in self.buckets.iter() {
            seen += u128::from(count);
            if seen >= wanted.max(1) {
                // A bucket's upper bound may lie above everything in it.
                return last_of(bucket).min(self.max_ns);
            }
        }
        0
    }

    /// Counts by powers of two: each from a least duration (0, 1, 2, 4, …) up to twice that, without
    /// the empty ones.
    pub fn log2(&self) -> Vec<(i64, u64)> {
        let mut powers: Vec<(i64, u64)> = Vec::new();
        for (bucket, count) in self.buckets.iter() {
            let least = match last_of(bucket) {
                0 => 0,
                last => 1i64 << last.ilog2(),
            };
            match powers.last_mut() {
                Some((power, sum)) if *power == least => *sum += count,
                _ => powers.push((least, count)),
            }
        }
        powers
    }
}

/// How many fell into each bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Buckets {
    /// Sorted.
    Few(Vec<(u16, u64)>),
    /// By pages of neighbours.
    Many(Vec<Option<Box<[u64; PAGE]>>>),
}

const FEW: usize = 32;
const PAGE: usize = 64;

impl Default for Buckets {
    fn default() -> Self {
        Buckets::Few(Vec::new())
    }
}

impl Buckets {
    fn add(&mut self, bucket: u16, count: u64) {
        match self {
            Buckets::Few(few) => match few.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                Ok(at) => few[at].1 += count,
                Err(at) => {
                    few.insert(at, (bucket, count));
                    if few.len() > FEW {
                        self.spread();
                    }
                }
            },
            Buckets::Many(pages) => {
                let page = usize::from(bucket) / PAGE;
                if pages.len() <= page {
                    pages.resize_with(page + 1, || None);
                }
                let page = pages[page].get_or_insert_with(|| Box::new([0; PAGE]));
                page[usize::from(bucket) % PAGE] += count;
            }
        }
    }

    fn spread(&mut self) {
        let mut many = Buckets::Many(Vec::new());
        for (bucket, count) in self.iter() {
            many.add(bucket, count);
        }
        *self = many;
    }

    /// Those that something fell into, in their order.
    fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let (few, many) = match self {
            Buckets::Few(few) => (few.as_slice(), [].as_slice()),
            Buckets::Many(pages) => ([].as_slice(), pages.as_slice()),
        };
        let pages = many.iter().zip((0u16..).step_by(PAGE));
        let many = pages.flat_map(|(page, first)| {
            let counts = page.as_ref().map_or(&[][..], |page| &page[..]);
            counts
                .iter()
                .zip(first..)
                .map(|(&count, bucket)| (bucket, count))
        });
        few.iter()
            .copied()
            .chain(many.filter(|(_, count)| *count > 0))
    }
}

fn bucket(ns: i64) -> u16 {
    let ns = ns.max(0).unsigned_abs();
    let exponent = ns.checked_ilog2().unwrap_or(0);
    let shift = exponent.saturating_sub(SUB_BITS);
    // At most 54 powers of 2^10 buckets, and the first two: they fit.
    let power = u64::from(shift) << SUB_BITS;
    u16::try_from(power + (ns >> shift)).unwrap_or(u16::MAX)
}

/// The longest duration that falls into a bucket.
fn last_of(bucket: u16) -> i64 {
    let bucket = u64::from(bucket);
    let subs = 1u64 << SUB_BITS;
    let shift = (bucket / subs).saturating_sub(1);
    let sub = bucket - (shift << SUB_BITS);
    let end = u128::from(sub + 1) << shift;
    i64::try_from(end - 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_narrow() {
        let mut values: Vec<i64> = (0..63)
            .flat_map(|e| [1i64 << e, (1 << e) + (1 << e) / 3])
            .collect();
        values.extend([0, 3, 1023, 1024, 1025, 2047, 2048, 2049, i64::MAX]);
        values.sort_unstable();
        for pair in values.windows(2) {
            assert!(bucket(pair[0]) <= bucket(pair[1]), "{pair:?}");
        }
        for value in values {
            let last = last_of(bucket(value));
            assert!(last >= value, "{value} {last}");
            assert!(last - value <= value / 1024, "{value} {last}");
            assert_eq!(bucket(last), bucket(value));
        }
    }

    #[test]
    fn quantiles_are_exact_where_buckets_are() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.per_mille_ns(500), histogram.mean_ns()), (0, 0));
        (1..=100).for_each(|ns| histogram.record(ns));
        let (mut halves, mut other) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|ns| halves.record(ns));
        (51..=100).for_each(|ns| other.record(ns));
        halves.add(&other);
        assert_eq!(halves, histogram);
        assert_eq!(histogram.per_mille_ns(500), 50);
        assert_eq!(histogram.per_mille_ns(990), 99);
        assert_eq!(histogram.per_mille_ns(1_000), 100);
        assert_eq!((histogram.total_ns(), histogram.mean_ns()), (5_050, 50));
        assert_eq!(histogram.log2().last(), Some(&(64, 37)));
        assert_eq!(
            histogram.log2().iter().map(|(_, count)| count).sum::<u64>(),
            100
        );
        histogram.record(-7);
        assert_eq!(histogram.log2()[0], (0, 1));
    }
}
