//! Values as they are typed, by the type of the field that they are compared with.

use std::net::IpAddr;

use super::{
    error::Trouble,
    field::{self, Type},
    parser::Spanned,
};
use crate::{render::errno, selection::parse_duration};

/// From the first to the last value, both included.
pub(super) type Range = (i128, i128);

/// What is before and behind every value.
pub(super) const EVERYTHING: Range = (i128::MIN, i128::MAX);

/// The architectures whose syscalls have names here.
const ARCHITECTURES: [&str; 3] = ["x86_64", "aarch64", "i386"];

/// A number, a duration, a size, a moment, an errno or a truth as a number. `wall` maps wall time to
/// nanoseconds since the start of the capture.
pub(super) fn number(
    kind: Type,
    value: &Spanned,
    wall: &dyn Fn(i64) -> i64,
) -> Result<i128, Trouble> {
    let text = value.text.as_str();
    let (read, expected) = match kind {
        Type::Duration => (duration(text), "a time with its unit: 10ms, 1.5s, 200us"),
        Type::Moment => (
            duration(text).or_else(|| Some(i128::from(wall(wall_time(text)?)))),
            "a time since the start (1.5s) or a wall time with its zone (2026-01-31T12:00:00Z)",
        ),
        Type::Errno => (error(text), "the name or number of an error: EAGAIN, 11"),
        Type::Bool => (truth(text), "true or false"),
        Type::Size => (size(text), "a size in bytes: 4096, 4KiB, 1.5MB"),
        _ => (
            integer(text).or_else(|| size(text)),
            "a number: 7, -1, 0x10, 4KiB",
        ),
    };
    read.ok_or_else(|| Trouble::new(&value.span, format!("expected {expected}, found `{text}`")))
}

/// One value, or in a list also `FIRST..LAST`.
pub(super) fn range(
    kind: Type,
    value: &Spanned,
    wall: &dyn Fn(i64) -> i64,
) -> Result<Range, Trouble> {
    let part = |text: &str| Spanned {
        text: text.to_owned(),
        span: value.span.clone(),
    };
    let (first, last) = match value.text.split_once("..") {
        Some((first, last)) if kind.is_ordered() => (part(first), part(last)),
        _ => (value.clone(), value.clone()),
    };
    let range = (number(kind, &first, wall)?, number(kind, &last, wall)?);
    if range.0 > range.1 {
        return Err(Trouble::new(&value.span, "the range ends before it begins"));
    }
    Ok(range)
}

/// A text that the field can be: of those with fixed words, one of these.
pub(super) fn text(kind: Type, value: &Spanned) -> Result<String, Trouble> {
    let text = value.text.as_str();
    match kind {
        Type::Word(words) => {
            let words = words();
            if words.contains(&text) {
                return Ok(text.to_owned());
            }
            let what = format!("expected one of {}, found `{text}`", words.join(", "));
            Err(suggest(Trouble::new(&value.span, what), text, &words))
        }
        Type::Syscall => {
            let known = |arch: &str| kindling_format::syscalls::named(arch, text).is_some();
            if text.starts_with("syscall_") || ARCHITECTURES.iter().any(|arch| known(arch)) {
                return Ok(text.to_owned());
            }
            let names = kindling_format::syscalls::table(ARCHITECTURES[0]).unwrap_or_default();
            let names: Vec<&str> = names.iter().map(|spec| spec.name).collect();
            let what = format!("expected the name of a syscall, found `{text}`");
            Err(suggest(Trouble::new(&value.span, what), text, &names))
        }
        _ => Ok(text.to_owned()),
    }
}

fn suggest(trouble: Trouble, typed: &str, words: &[&str]) -> Trouble {
    match field::near(typed, words.iter().copied()).first() {
        Some(near) => trouble.with_hint(format!("did you mean {near}?")),
        None => trouble,
    }
}

/// A network: an address with how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: u128,
    bits: u32,
    is_v4: bool,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/8` or the like of IPv6.
    pub(super) fn parse(value: &Spanned) -> Result<Self, Trouble> {
        Self::read(&value.text).ok_or_else(|| {
            let found = &value.text;
            Trouble::new(
                &value.span,
                format!("expected an address or a network (10.0.0.0/8, ::1), found `{found}`"),
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let (address, is_v4) = bits_of(address)?;
        let width = if is_v4 { 32 } else { 128 };
        let bits: u32 = bits.unwrap_or(width);
        (bits <= width).then_some(Self {
            address,
            bits: bits + (128 - width),
            is_v4,
        })
    }

    /// Whether the address is in it.
    pub(super) fn contains(&self, address: &str) -> bool {
        let Some((address, is_v4)) = bits_of(address) else {
            return false;
        };
        let shift = 128 - self.bits;
        is_v4 == self.is_v4
            && address.checked_shr(shift).unwrap_or(0)
                == self.address.checked_shr(shift).unwrap_or(0)
    }
}

/// An address as a number; an IPv4 address in its IPv6 form is one of IPv4.
fn bits_of(text: &str) -> Option<(u128, bool)> {
    match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(v4) => Some((u128::from(v4.to_bits()), true)),
        IpAddr::V6(v6) => Some((v6.to_bits(), false)),
    }
}

fn integer(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn duration(text: &str) -> Option<i128> {
    // Seconds without a unit would surprise those who mean nanoseconds, and the other way round.
    let has_unit = text.ends_with(char::is_alphabetic) || text == "0";
    has_unit
        .then(|| parse_duration(text))
        .flatten()
        .map(i128::from)
}

fn wall_time(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn size(text: &str) -> Option<i128> {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at)?;
    let unit: i128 = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return integer(text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok().filter(|&n| n <= 18)?;
    let fraction: u64 = fraction.parse().ok()?;
    Some(i128::from(whole) * unit + i128::from(fraction) * unit / 10i128.pow(digits))
}

fn error(text: &str) -> Option<i128> {
    let by_name = || (1..=4095).find(|&errno| errno::name(errno) == text);
    let number = text.parse::<u16>().ok().or_else(by_name)?;
    Some(i128::from(number))
}

fn truth(text: &str) -> Option<i128> {
    match text {
        "true" => Some(1),
        "false" => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("4096", Some(4096)),
            ("4KiB", Some(4096)),
            ("1.5MiB", Some(3 << 19)),
            ("2kB", Some(2_000)),
            ("0.001GB", Some(1_000_000)),
            ("0x10", Some(16)),
            ("1.5.5", None),
            ("KiB", None),
            ("4Kib", None),
            ("-1", Some(-1)),
        ];
        for (text, expect) in cases {
            assert_eq!(size(text), expect, "{text}");
        }
    }

    #[test]
    fn networks() {
        let cases = [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("::/0", "fe80::1", true),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "::1", false),
            ("10.0.0.1", "no address", false),
        ];
        for (network, address, expect) in cases {
            let network = Network::read(network).unwrap();
            assert_eq!(network.contains(address), expect, "{network:?} {address}");
        }
        for bad in ["10.0.0.0/33", "10.0.0", "::/129", "/8", "10.0.0.1/x"] {
            assert_eq!(Network::read(bad), None, "{bad}");
        }
    }
}
