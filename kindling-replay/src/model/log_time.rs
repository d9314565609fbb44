//! The time that a log line says of itself, in the forms that servers write.

/// The local time that a line says, without a zone unless it has one: `2026-01-31T12:00:00.123`.
///
/// Known are ISO 8601, nginx's and Apache's error and access logs, Redis's, syslog's (RFC 3164 and
/// 5424) and klog's. Syslog and klog leave out the year: it is `year`. `None` if no time stands where
/// these forms have one.
pub fn own_time(line: &str, year: i16) -> Option<String> {
    let line = line.trim_start();
    let line = line.strip_prefix('<').map_or(line, |rest| {
        // A syslog priority, in RFC 5424 followed by the version.
        let rest = rest.split_once('>').map_or(rest, |(_, rest)| rest);
        rest.strip_prefix("1 ").unwrap_or(rest)
    });
    [iso, klog, syslog, redis, access]
        .iter()
        .find_map(|form| form(line, year))
}

/// `2026-01-31T12:00:00.123Z`, `2026/01/31 12:00:00`, also in brackets or quotes, or as the first value
/// of JSON or logfmt.
fn iso(line: &str, _year: i16) -> Option<String> {
    const FAR: usize = 48;
    // Where the first group of four digits begins, not far from the start of the line.
    let head: String = line.chars().take(FAR).collect();
    let at = head.as_bytes().windows(5).position(|window| {
        window.iter().take(4).all(u8::is_ascii_digit) && matches!(window.last(), Some(b'-' | b'/'))
    })?;
    let before = head.get(..at)?;
    let is_value = before.ends_with(['[', '"', '=', ' ', '(']) || before.is_empty();
    let text = line.get(at..).filter(|_| is_value)?;
    let date = text.get(..10)?.replace('/', "-");
    let rest = text.get(10..)?;
    let time = rest.strip_prefix(['T', ' ', '_'])?;
    civil(&date, time)
}

/// `I0131 12:00:00.123456  4711 file.go:12]`.
fn klog(line: &str, year: i16) -> Option<String> {
    let rest = line.strip_prefix(['I', 'W', 'E', 'F', 'D'])?;
    let (month, day) = (rest.get(..2)?, rest.get(2..4)?);
    civil(
        &format!("{year:04}-{month}-{day}"),
        rest.get(4..)?.strip_prefix(' ')?,
    )
}

/// `Jan 31 12:00:00 host`, `Jan  1 …`.
fn syslog(line: &str, year: i16) -> Option<String> {
    let month = month(line.get(..3)?)?;
    let day: u8 = line.get(3..6)?.trim_start().parse().ok()?;
    let time = line.get(6..)?.strip_prefix(' ')?;
    civil(&format!("{year:04}-{month:02}-{day:02}"), time)
}

/// `4711:M 31 Jan 2026 12:00:00.123 *`.
fn redis(line: &str, _year: i16) -> Option<String> {
    let (process, rest) = line.split_once(' ')?;
    let (pid, role) = process.split_once(':')?;
    let is_process = pid.bytes().all(|b| b.is_ascii_digit()) && role.len() == 1;
    let mut parts = rest.splitn(4, ' ').filter(|_| is_process);
    let day: u8 = parts.next()?.parse().ok()?;
    let month = month(parts.next()?)?;
    let year: u16 = parts.next()?.parse().ok()?;
    civil(&format!("{year:04}-{month:02}-{day:02}"), parts.next()?)
}

/// `10.0.0.1 - - [31/Jan/2026:12:00:00 +0100] "GET / …`.
fn access(line: &str, _year: i16) -> Option<String> {
    let text = line.split('[').nth(1)?;
    let (date, rest) = text.split_once(':')?;
    let mut date = date.splitn(3, '/');
    let day: u8 = date.next()?.parse().ok()?;
    let month = month(date.next()?)?;
    let year: u16 = date.next()?.parse().ok()?;
    let (time, zone) = rest.split_once(' ').unwrap_or((rest, ""));
    let zone = zone.split(']').next().unwrap_or_default();
    let time = time.split(']').next().unwrap_or_default();
    civil(
        &format!("{year:04}-{month:02}-{day:02}"),
        &format!("{time}{zone}"),
    )
}

/// A date with a time that may have a fraction and a zone behind it; nothing if there is no such
/// moment.
fn civil(date: &str, time: &str) -> Option<String> {
    let clock = time.get(..8)?;
    let rest = time.get(8..)?;
    let digits = match rest.strip_prefix(['.', ',']) {
        Some(digits) => {
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(digits.len());
            digits.get(..end.min(9))?
        }
        None => "",
    };
    let rest = match digits {
        "" => rest,
        digits => rest
            .get(1 + digits.len()..)?
            .trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    let parsed: jiff::civil::DateTime = format!("{date}T{clock}").parse().ok()?;
    let mut text = format!("{}", parsed.strftime("%Y-%m-%dT%H:%M:%S"));
    if !digits.is_empty() {
        text = format!("{text}.{digits}");
    }
    text.push_str(&zone(rest));
    Some(text)
}

/// `Z`, `+0100` or `+01:00` at the start, as `Z` or `+01:00`.
fn zone(rest: &str) -> String {
    if rest.starts_with('Z') {
        return "Z".into();
    }
    let sign = rest.get(..1).filter(|sign| matches!(*sign, "+" | "-"));
    let digits: String = rest.chars().skip(1).filter(|c| *c != ':').take(4).collect();
    match (sign, digits.get(..2), digits.get(2..4)) {
        (Some(sign), Some(hours), Some(minutes)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{sign}{hours}:{minutes}")
        }
        _ => String::new(),
    }
}

fn month(name: &str) -> Option<usize> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    Some(MONTHS.iter().position(|month| *month == name)? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let cases = [
            ("2026-01-31T12:00:01Z GET", Some("2026-01-31T12:00:01Z")),
            (
                "2026-01-31 12:00:01,123 INFO x",
                Some("2026-01-31T12:00:01.123"),
            ),
            (
                "2026-01-31T12:00:01.123456789+01:00 x",
                Some("2026-01-31T12:00:01.123456789+01:00"),
            ),
            ("[2026-01-31 12:00:01.5] x", Some("2026-01-31T12:00:01.5")),
            (
                "{\"time\":\"2026-01-31T12:00:01-0530\"}",
                Some("2026-01-31T12:00:01-05:30"),
            ),
            (
                "level=info ts=2026-01-31T12:00:01.7Z",
                Some("2026-01-31T12:00:01.7Z"),
            ),
            (
                "2026/01/31 12:00:01 [error] 7#7: *1 open()",
                Some("2026-01-31T12:00:01"),
            ),
            (
                "4711:M 31 Jan 2026 12:00:01.123 * Ready",
                Some("2026-01-31T12:00:01.123"),
            ),
            (
                "<34>1 2026-01-31T12:00:01.003Z host su - - x",
                Some("2026-01-31T12:00:01.003Z"),
            ),
            (
                "<13>Jan  1 12:00:01 host app: x",
                Some("2025-01-01T12:00:01"),
            ),
            (
                "Jan 31 12:00:01 host app[1]: x",
                Some("2025-01-31T12:00:01"),
            ),
            (
                "E0131 12:00:01.123456   47 a.go:1] x",
                Some("2025-01-31T12:00:01.123456"),
            ),
            (
                "::1 - - [31/Jan/2026:12:00:01 +0100] \"GET / HTTP/1.1\" 200",
                Some("2026-01-31T12:00:01+01:00"),
            ),
            ("2026-02-30 12:00:01 no such day", None),
            ("2026-01-31 25:00:01 no such hour", None),
            ("Jax 31 12:00:01 x", None),
            ("a line without time", None),
            ("id12026-01-31 12:00:01", None),
            ("", None),
            ("I0131", None),
            ("ä2026-01-31é12:00:01", None),
        ];
        for (line, expect) in cases {
            assert_eq!(own_time(line, 2025).as_deref(), expect, "{line}");
        }
    }

    #[test]
    fn cut_lines_do_not_make_it_panic() {
        let lines = [
            "[2026-01-31T12:00:01.123+01:00]é",
            "4711:M 31 Jan 2026 12:00:01.1 é",
            "<13>Jan 31 12:00:01.9é",
            "I0131 12:00:01.1é",
            "x [31/Jan/2026:12:00:01 +01é00]",
        ];
        for line in lines {
            for (end, _) in line.char_indices() {
                for (start, _) in line.char_indices().filter(|(start, _)| *start <= end) {
                    let _ = own_time(&line[start..end], 2025);
                }
            }
        }
    }
}
