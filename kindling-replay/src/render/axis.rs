//! The axis of time above a picture: round moments, each with a line down.

use std::io::Write;

/// Draws the ticks of `span` (its first and last moment, since the start of the capture), which is
/// `length_ns` long; `top` and `bottom` are those of the lines, and `x` places a moment.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(
    out: &mut dyn Write,
    (from_ns, to_ns): (i64, i64),
    length_ns: i64,
    (top, bottom): (f64, f64),
    x: impl Fn(i64) -> f64,
) -> anyhow::Result<()> {
    let step = tick_step(length_ns);
    let unit = tick_unit(step);
    let mut tick = from_ns.div_euclid(step).saturating_mul(step);
    while tick <= to_ns && tick < i64::MAX {
        if tick >= from_ns {
            writeln!(
                out,
                r##"<path d="M{x:.1},{}V{bottom}" stroke="#e9ecef"/><text x="{x:.1}" y="{}" text-anchor="middle" font-size="11" fill="#868e96">{}</text>"##,
                top - 14.0,
                top - 19.0,
                unit(tick),
                x = x(tick)
            )?;
        }
        tick = tick.saturating_add(step);
    }
    Ok(())
}

/// The smallest of 1, 2, 5 times a power of ten that gives at most twelve ticks.
fn tick_step(length_ns: i64) -> i64 {
    let mut step = 1i64;
    loop {
        for factor in [1, 2, 5] {
            let candidate = step.saturating_mul(factor);
            if candidate == i64::MAX || length_ns / candidate <= 12 {
                return candidate;
            }
        }
        step = step.saturating_mul(10);
    }
}

fn tick_unit(step: i64) -> impl Fn(i64) -> String {
    let (unit_ns, unit) = match step {
        ..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    move |ns| format!("{} {unit}", ns / unit_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let cases = [
            (12, 1),
            (13, 2),
            (1_000_000_000, 100_000_000),
            (3_141_592_653, 500_000_000),
            (0, 1),
        ];
        for (length, step) in cases {
            assert_eq!(tick_step(length), step, "{length}");
        }
        assert_eq!(tick_unit(500_000_000)(1_500_000_000), "1500 ms");
        assert!(tick_step(i64::MAX) > 0);
    }
}
