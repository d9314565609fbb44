//! Repeats in a long list of steps: `a b c b c b c` is `a`, then three times `b c`.

/// The longest pattern that is looked for.
const LONGEST: usize = 16;

/// A pattern of consecutive steps, and how often it comes in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The place of its first step.
    pub start: usize,
    /// How many steps the pattern has.
    pub period: usize,
    /// How often it comes; at least once.
    pub times: usize,
}

impl Run {
    /// The place behind its last step.
    pub fn end(self) -> usize {
        self.start + self.period * self.times
    }
}

/// Folds a list: the runs that are given cover it without gap or overlap. Where several patterns repeat,
/// the one that covers most is taken, and of these the shortest.
pub fn fold<T: PartialEq>(steps: &[T]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0;
    while let Some(rest) = steps.get(at..).filter(|rest| !rest.is_empty()) {
        let run = longest(rest, at);
        at = run.end();
        runs.push(run);
    }
    runs
}

fn longest<T: PartialEq>(rest: &[T], start: usize) -> Run {
    let single = Run {
        start,
        period: 1,
        times: 1,
    };
    let mut best = single;
    for period in 1..=LONGEST.min(rest.len() / 2) {
        let (pattern, behind) = rest.split_at(period);
        let more = behind
            .chunks_exact(period)
            .take_while(|chunk| *chunk == pattern);
        let run = Run {
            start,
            period,
            times: 1 + more.count(),
        };
        if run.times > 1 && run.end() > best.end() {
            best = run;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &str, expect: &str) {
        let steps: Vec<char> = steps.chars().collect();
        let runs = fold(&steps);
        let mut at = 0;
        let mut shown = Vec::new();
        for run in runs {
            assert_eq!(run.start, at);
            at = run.end();
            let pattern: String = steps[run.start..run.start + run.period].iter().collect();
            assert_eq!(
                pattern.repeat(run.times).chars().collect::<Vec<_>>(),
                steps[run.start..at]
            );
            shown.push(match run.times {
                1 => pattern,
                times => format!("{times}({pattern})"),
            });
        }
        assert_eq!(at, steps.len());
        assert_eq!(shown.join(" "), expect);
    }

    #[test]
    fn repeats_are_folded() {
        check("", "");
        check("a", "a");
        check("abcbcbc", "a 3(bc)");
        check("aaaa", "4(a)");
        check("ababab", "3(ab)");
        check("aabaabaab", "3(aab)");
        check("abcd", "a b c d");
        check("xabababyy", "x 3(ab) 2(y)");
    }
}
