//! Which part of a capture a command looks at: a window of time and a set of threads.

use std::str::FromStr;

use serde::Serialize;

use crate::{
    cli::{SelectionArgs, UsageError},
    filter::Filter,
    model::clock::ClockMap,
};

/// A moment as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSpec {
    /// Nanoseconds since the start of the capture.
    Offset(i64),
    /// Nanoseconds since the Unix epoch.
    Wall(i64),
}

impl FromStr for TimeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ns) = parse_duration(text) {
            return Ok(Self::Offset(ns));
        }
        let wall: Option<jiff::Timestamp> = text.parse().ok();
        let wall = wall.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
        wall.map(Self::Wall).ok_or_else(|| {
            "expected a time since the start (1.5s, 200ms, 3m) or a wall time with its zone \
             (2026-01-31T12:00:00Z)"
                .to_owned()
        })
    }
}

/// Nanoseconds of `1.5s`, `200ms`, `10us`, `7ns`, `2m`, `1h`, or seconds without a unit.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.trim_start_matches('+');
    let unit_at = digits
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(digits.len());
    let (number, unit) = digits.split_at_checked(unit_at)?;
    let unit_ns: i64 = match unit {
        "" | "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" => 1_000,
        "ns" => 1,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut digit_ns = unit_ns;
    for digit in fraction.bytes() {
        digit_ns /= 10;
        ns = ns.checked_add(i64::from(digit.checked_sub(b'0')?) * digit_ns)?;
    }
    Some(ns)
}

/// A span of time: from `from` on, up to and including `to`, in the capture's `ts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub from: i64,
    /// Its last moment.
    pub to: i64,
}

impl Window {
    /// All time.
    pub const ALWAYS: Self = Self {
        from: i64::MIN,
        to: i64::MAX,
    };

    /// Whether the moment lies in the window.
    pub fn contains(self, ts: i64) -> bool {
        self.from <= ts && ts <= self.to
    }

    /// Whether anything of the span from `start` to `end` lies in the window.
    pub fn overlaps(self, start: i64, end: i64) -> bool {
        start <= self.to && end >= self.from
    }

    /// The part of a span that lies in the window; `None` if none of it does.
    pub fn clip(self, start: i64, end: i64) -> Option<(i64, i64)> {
        let (start, end) = (start.max(self.from), end.min(self.to));
        (start <= end).then_some((start, end))
    }

    /// Its length in nanoseconds.
    pub fn length_ns(self) -> i64 {
        self.to.saturating_sub(self.from).max(0)
    }
}

/// What was selected, checked.
#[derive(Debug, Clone, Serialize)]
pub struct Selection {
    /// The window of time.
    #[serde(skip)]
    pub window: Window,
    /// Start of the window, in nanoseconds since the start of the capture.
    pub from_ns: i64,
    /// End of the window, likewise.
    pub to_ns: i64,
    /// Only these processes; all if empty.
    pub pids: Vec<u32>,
    /// Only these threads; all if empty.
    pub tids: Vec<u32>,
    /// Only threads that had a name like this.
    pub comm: Option<String>,
    /// Only processes of the container whose id begins so.
    pub container: Option<String>,
    /// Only events for which this holds.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

impl Selection {
    /// Checks what was typed against the capture's own span.
    ///
    /// # Errors
    /// [`UsageError`] if the window ends before it begins or lies outside of the capture.
    pub fn new(args: &SelectionArgs, whole: Window, clock: &ClockMap) -> Result<Self, UsageError> {
        let resolve = |spec: TimeSpec| match spec {
            TimeSpec::Offset(ns) => whole.from.saturating_add(ns),
            TimeSpec::Wall(ns) => clock.ts_of_wall(ns),
        };
        let offset = |wall| clock.ts_of_wall(wall).saturating_sub(whole.from);
        let filter = args.filter.clone();
        let filter = filter
            .map(|filter| filter.with_wall_times(&offset))
            .transpose();
        let filter = filter.map_err(|error| UsageError(error.to_string()))?;
        let (first, last) = filter.as_ref().map_or((None, None), Filter::bounds);
        let at_least = |ns| whole.from.saturating_add(ns);
        let mut from = args.from.map_or(whole.from, resolve).max(whole.from);
        let mut to = args.to.map_or(whole.to, resolve).min(whole.to);
        from = first.map_or(from, |ns| at_least(ns).max(from));
        to = last.map_or(to, |ns| at_least(ns).min(to));
        if from > to {
            return Err(UsageError(format!(
                "--from, --to and the ts of --where leave nothing: the capture lasts {}",
                crate::render::units::duration(whole.length_ns())
            )));
        }
        Ok(Self {
            window: Window { from, to },
            from_ns: from.saturating_sub(whole.from),
            to_ns: to.saturating_sub(whole.from),
            pids: args.pid.clone(),
            tids: args.tid.clone(),
            comm: args.comm.clone(),
            container: args.container.clone(),
            filter,
        })
    }

    /// Whether anything restricts the threads.
    pub fn restricts_threads(&self) -> bool {
        self.has_thread_options() || self.filter.is_some()
    }

    /// Whether an option names threads.
    pub fn has_thread_options(&self) -> bool {
        !self.pids.is_empty()
            || !self.tids.is_empty()
            || self.comm.is_some()
            || self.container.is_some()
    }

    /// All of the selection as options.
    pub fn options(&self) -> String {
        let seconds = |ns: i64| {
            let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            format!("{text}s")
        };
        let window = format!(
            "--from {} --to {}",
            seconds(self.from_ns),
            seconds(self.to_ns)
        );
        let options = [window, self.thread_options()];
        options.join(" ").trim_end().to_owned()
    }

    /// The options that restrict the threads, as they are typed.
    pub fn thread_options(&self) -> String {
        let list = |name: &str, ids: &[u32]| {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            (!ids.is_empty()).then(|| format!("{name} {}", ids.join(",")))
        };
        let word =
            |name: &str, word: &Option<String>| word.as_ref().map(|word| format!("{name} {word}"));
        let options = [
            list("--pid", &self.pids),
            list("--tid", &self.tids),
            word("--comm", &self.comm),
            word("--container", &self.container),
            word(
                "--where",
                &self.filter.as_ref().map(|filter| format!("'{filter}'")),
            ),
        ];
        options.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Whether `text` is like `pattern`, where `*` is any text and `?` any character.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a guess for the last `*` was wrong: it then takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            (Some(&want), Some(&have)) if want == '?' || want == have => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, at)) => {
                    retry = Some((after_star, at + 1));
                    (p, t) = (after_star, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_to_the_nanosecond() {
        let cases = [
            ("1.5s", Some(1_500_000_000)),
            ("200ms", Some(200_000_000)),
            ("0.000000001", Some(1)),
            ("+10us", Some(10_000)),
            (".5s", Some(500_000_000)),
            ("2m", Some(120_000_000_000)),
            ("", None),
            (".", None),
            ("s", None),
            ("1.5.2s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999s", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_duration(text), expect, "{text:?}");
        }
    }

    #[test]
    fn wall_times_need_a_zone() {
        let epoch: TimeSpec = "1970-01-01T00:00:01Z".parse().unwrap();
        assert_eq!(epoch, TimeSpec::Wall(1_000_000_000));
        assert!("1970-01-01T00:00:01".parse::<TimeSpec>().is_err());
    }

    #[test]
    fn globs() {
        let cases = [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("n*x", "nginx", true),
            ("*", "", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b?", "aXbXb", false),
            ("?", "", false),
            ("redis-*", "redis-server", true),
        ];
        for (pattern, text, expect) in cases {
            assert_eq!(glob(pattern, text), expect, "{pattern} {text}");
        }
    }
}
