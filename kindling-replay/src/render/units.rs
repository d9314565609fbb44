//! Times, sizes and counts for reading: the one place that formats them.

/// A duration with three significant digits: `1.23 ms`. Zero is `0`.
pub fn duration(ns: i64) -> String {
    let abs = ns.unsigned_abs();
    let (unit_ns, unit) = match abs {
        0 => return "0".into(),
        1..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    scaled(ns as f64 / f64::from(unit_ns), unit)
}

/// A size in bytes with three significant digits: `1.23 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    scaled(value, unit)
}

fn scaled(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A moment since the start of the capture, to the nanosecond: `+1.234567890`.
pub fn offset(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    let ns = ns.unsigned_abs();
    format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// Seconds to the nanosecond, as after a syscall: `0.000012345`.
pub fn seconds(ns: i64) -> String {
    let text = offset(ns);
    text.strip_prefix('+').map(str::to_owned).unwrap_or(text)
}

/// A part of a whole: `12.3 %`; empty if there is no whole.
pub fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        String::new()
    } else {
        format!("{:.1} %", part as f64 * 100.0 / whole as f64)
    }
}

/// A count with its digits in groups: `1 234 567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// So many of what `noun` names: `1 wait`, `2 018 waits`, `3 processes`.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let durations = [
            (0, "0"),
            (999, "999 ns"),
            (1_234, "1.23 us"),
            (99_960, "100 us"),
            (12_345_678, "12.3 ms"),
            (1_500_000_000, "1.50 s"),
            (-1_500_000_000, "-1.50 s"),
            (123_456_000_000, "123 s"),
        ];
        for (ns, text) in durations {
            assert_eq!(duration(ns), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (1 << 30, "1.00 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(12), "12");
        assert_eq!(offset(1_000_000_007), "+1.000000007");
        assert_eq!(offset(-5), "-0.000000005");
        assert_eq!(seconds(12_345), "0.000012345");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 0), "");
    }

    #[test]
    fn nouns_follow_their_numbers() {
        let cases = [
            (0, "wait", "0 waits"),
            (1, "wait", "1 wait"),
            (2_018, "other request", "2 018 other requests"),
            (3, "process", "3 processes"),
        ];
        for (number, noun, expect) in cases {
            assert_eq!(counted(number, noun), expect);
        }
    }
}
