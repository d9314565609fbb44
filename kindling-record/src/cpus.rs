//! The host's CPUs, and which of them share a cache.

use std::{collections::BTreeMap, fs};

/// CPUs by their cache domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpus {
    /// The CPUs that are online.
    pub(crate) online: Vec<usize>,
    /// The highest possible CPU number.
    pub(crate) highest: usize,
    /// The domain of each CPU, by its number.
    pub(crate) domain_of: Vec<u16>,
    /// The number of domains.
    pub(crate) domains: usize,
}

/// More rings than this cost memory and help no more.
const MOST_DOMAINS: usize = 64;

impl Cpus {
    /// Looks at `/sys`; a host that hides it is taken as one CPU domain.
    pub(crate) fn of_host() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let online = parse_list(&read("/sys/devices/system/cpu/online"));
        let online = if online.is_empty() { vec![0] } else { online };
        let possible = parse_list(&read("/sys/devices/system/cpu/possible"));
        let highest = possible.iter().chain(&online).copied().max().unwrap_or(0);
        let shared = |cpu: usize| {
            read(&format!(
                "/sys/devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_list"
            ))
        };
        Self::new(online, highest, shared)
    }

    fn new(online: Vec<usize>, highest: usize, shared: impl Fn(usize) -> String) -> Self {
        let mut numbers = BTreeMap::new();
        let mut domain_of = vec![0; highest + 1];
        for (cpu, domain) in domain_of.iter_mut().enumerate() {
            let next = numbers.len();
            let number = *numbers.entry(shared(cpu)).or_insert(next);
            *domain = (number % MOST_DOMAINS) as u16;
        }
        let domains = numbers.len().clamp(1, MOST_DOMAINS);
        Self {
            online,
            highest,
            domain_of,
            domains,
        }
    }
}

/// A list as the kernel writes it: `0-3,8,10-11`.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges_and_numbers() {
        assert_eq!(parse_list("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert!(parse_list("").is_empty());
    }

    #[test]
    fn cpus_that_share_a_cache_share_a_domain() {
        let shared = |cpu: usize| {
            if cpu < 2 {
                "0-1".to_owned()
            } else {
                "2-3".to_owned()
            }
        };
        let cpus = Cpus::new(vec![0, 1, 2, 3], 3, shared);
        assert_eq!((cpus.domains, &cpus.domain_of[..]), (2, &[0, 0, 1, 1][..]));
    }

    #[test]
    fn a_host_without_cache_facts_is_one_domain() {
        assert_eq!(Cpus::new(vec![0, 1], 1, |_| String::new()).domains, 1);
    }
}
