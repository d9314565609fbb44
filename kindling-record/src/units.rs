//! Sizes and lengths of time, as they are typed.

use std::time::Duration;

/// How much of a recording: so many bytes, or so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Bytes(u64),
    Time(Duration),
}

/// A size ends with `K`, `M` or `G`, a time with a small letter; `m` is minutes.
pub(crate) fn parse_extent(text: &str) -> Result<Extent, String> {
    let is_size = text.ends_with(['K', 'M', 'G', 'B']);
    let extent = match is_size {
        true => Extent::Bytes(parse_size(text)?),
        false => Extent::Time(parse_duration(text)?),
    };
    match extent {
        Extent::Bytes(0) | Extent::Time(Duration::ZERO) => {
            Err("expected more than nothing, for example 256M or 60s".into())
        }
        extent => Ok(extent),
    }
}

/// A length of time: a number with `ns`, `us`, `ms`, `s` (the default), `m` or `h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is not a unit of time: ns, us, ms, s, m or h"
            ));
        }
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// The steps of a clock: 2 to the power of this, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolution(u32);

impl Resolution {
    /// The coarsest: 1,024 ns, no longer than the shortest stay on a CPU.
    const COARSEST: u32 = 10;

    pub(crate) fn ns(self) -> u32 {
        1 << self.0
    }

    /// The bits of a time that are kept.
    pub(crate) fn mask(self) -> u64 {
        u64::MAX << self.0
    }
}

impl Default for Resolution {
    /// 32 ns: about as long as it takes to read a clock, and between the steps of the clocks of arm64
    /// servers (8 to 40 ns).
    fn default() -> Self {
        Self(5)
    }
}

/// A power of two of nanoseconds.
pub(crate) fn parse_resolution(text: &str) -> Result<Resolution, String> {
    let ns = parse_duration(text)?.as_nanos();
    let mut steps = (0..=Resolution::COARSEST).map(Resolution);
    steps
        .find(|step| u128::from(step.ns()) == ns)
        .ok_or_else(|| {
            format!(
                "expected a power of two from 1ns to {}ns",
                1 << Resolution::COARSEST
            )
        })
}

/// A size: a number with `K`, `M` or `G`, powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("`{unit}` is not a unit of size: K, M or G")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert!(parse_duration("2 parsecs").is_err());
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1KiB"), Ok(1024));
        assert!(parse_size("64Q").is_err());
    }

    #[test]
    fn an_extent_is_a_size_or_a_time() {
        assert_eq!(parse_extent("256M"), Ok(Extent::Bytes(256 << 20)));
        assert_eq!(
            parse_extent("2m"),
            Ok(Extent::Time(Duration::from_secs(120)))
        );
        assert!(parse_extent("0s").is_err());
    }

    #[test]
    fn a_resolution_is_a_power_of_two() {
        let parse = |text| parse_resolution(text).map(|step| (step.ns(), step.mask()));
        assert_eq!(parse("1ns"), Ok((1, u64::MAX)));
        assert_eq!(parse("32ns"), Ok((32, !31)));
        assert_eq!(parse("1.024us"), Ok((1024, !1023)));
        for text in ["0ns", "10ns", "2048ns", "1us", "32"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_resolution("32ns"), Ok(Resolution::default()));
    }
}
