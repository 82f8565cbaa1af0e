//! Durations and sizes as Go writes and reads them: `1h30m`, `11s`, `1.241 KiB`.
//!
//! A Go writer normalises durations (1m becomes 1m0s), so equal text is not needed for equal durations; parse and compare.

use std::time::Duration;

use jiff::SignedDuration;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing where a number with a unit must stand.
    #[error("{0:?} is no duration: write a number and a unit, such as 30s, 5m or 1h30m")]
    Malformed(String),
    /// A number without a unit.
    #[error("{0:?} lacks a unit: write one of ns, us, ms, s, m, h behind each number, such as 30s")]
    NoUnit(String),
    /// A unit Go does not know; days and weeks among them.
    #[error("{text:?} has the unit {unit:?}: the units are ns, us, ms, s, m and h; write a day as 24h")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than 64 bits of nanoseconds.
    #[error("{0:?} is too long: the longest duration is about 292 years")]
    TooLong(String),
}

/// Reads Go duration text: an optional sign, then numbers with optional fractions and units, without blanks; or `0`.
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let unit = unit(text, &after[..end])?;
        let number = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| too_long())? };
        let part = number.checked_mul(unit).and_then(|part| part.checked_add(fraction_of(fraction, unit))).ok_or_else(too_long)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63).ok_or_else(too_long)?;
        rest = &after[end..];
    }
    let total = i128::from(total);
    let nanoseconds = i64::try_from(if negative { -total } else { total }).map_err(|_| too_long())?;
    Ok(SignedDuration::from_nanos(nanoseconds))
}

/// Reads a duration that must not be negative, or nothing from an empty text.
pub fn parse_optional(text: &str) -> Result<Option<Duration>, DurationError> {
    if text.is_empty() {
        return Ok(None);
    }
    let duration = parse(text)?;
    Duration::try_from(duration).map(Some).map_err(|_| DurationError::Malformed(text.to_owned()))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit(text: &str, unit: &str) -> Result<u64, DurationError> {
    match unit {
        "" => Err(DurationError::NoUnit(text.to_owned())),
        "ns" => Ok(1),
        // The micro sign and the Greek letter mu look alike; Go takes both.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(MICROSECOND),
        "ms" => Ok(MILLISECOND),
        "s" => Ok(SECOND),
        "m" => Ok(MINUTE),
        "h" => Ok(HOUR),
        _ => Err(DurationError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() }),
    }
}

/// The fraction of a unit in whole nanoseconds, by the same floating-point steps as Go, so that the last digit agrees.
/// Digits beyond what 63 bits hold are dropped, as there.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale: f64 = 1.0;
    for digit in digits.bytes().map(|byte| u64::from(byte - b'0')) {
        match value.checked_mul(10).and_then(|value| value.checked_add(digit)) {
            Some(next) if next <= 1 << 63 => value = next,
            _ => break,
        }
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Writes a duration as Go does: `1h30m0s`, `1m0s`, `1.5s`, `10ms`, `0s`.
pub fn format(duration: SignedDuration) -> String {
    let nanoseconds = duration.as_nanos();
    let magnitude = nanoseconds.unsigned_abs();
    let text = if magnitude < u128::from(SECOND) { below_a_second(magnitude) } else { hours_minutes_seconds(magnitude) };
    if nanoseconds < 0 { format!("-{text}") } else { text }
}

fn below_a_second(nanoseconds: u128) -> String {
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(nanoseconds, 3)),
        _ => format!("{}ms", decimal(nanoseconds, 6)),
    }
}

fn hours_minutes_seconds(nanoseconds: u128) -> String {
    let minutes = nanoseconds / u128::from(MINUTE);
    let seconds = decimal(nanoseconds % u128::from(MINUTE), 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value` divided by ten to the power of `places`, without trailing zeros.
fn decimal(value: u128, places: u32) -> String {
    let scale = 10u128.pow(places);
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:0width$}", width = places as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Writes a size as upstream does: `781 B`, `1.241 KiB`. The unit steps up strictly above its bound, so 1024 is `1024 B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes > 1 << shift) {
        Some((unit, shift)) => format!("{:.3} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs of text and nanoseconds, checked against the parser of Go's standard library.
    const PARSED: &[(&str, i64)] = &[
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5_000_000_000),
        ("30s", 30_000_000_000),
        ("1478s", 1_478_000_000_000),
        ("-5s", -5_000_000_000),
        ("+5s", 5_000_000_000),
        ("5.0s", 5_000_000_000),
        ("5.6s", 5_600_000_000),
        ("5.s", 5_000_000_000),
        (".5s", 500_000_000),
        ("1.004s", 1_004_000_000),
        ("1.0040s", 1_004_000_000),
        ("100.00100s", 100_001_000_000),
        ("10ns", 10),
        ("11us", 11_000),
        ("12\u{b5}s", 12_000),
        ("12\u{3bc}s", 12_000),
        ("13ms", 13_000_000),
        ("14s", 14_000_000_000),
        ("15m", 900_000_000_000),
        ("16h", 57_600_000_000_000),
        ("3h30m", 12_600_000_000_000),
        ("10.5s4m", 250_500_000_000),
        ("-2m3.4s", -123_400_000_000),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ("39h9m14.425s", 140_954_425_000_000),
        ("52763797000ns", 52_763_797_000),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("9007199254740993ns", 9_007_199_254_740_993),
        ("9223372036854775807ns", i64::MAX),
        ("9223372036854775.807us", i64::MAX),
        ("-9223372036854775808ns", i64::MIN),
        ("0.100000000000000000000h", 360_000_000_000),
        ("0.9223372036854775807h", 3_320_413_933_267),
        ("21.570479502s", 21_570_479_502),
    ];

    #[test]
    fn parses_as_go_does() {
        for (text, nanoseconds) in PARSED {
            assert_eq!(parse(text), Ok(SignedDuration::from_nanos(*nanoseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "+", ".", "-.", ".s", "+.s", "s", " 5s", "--1s", "\u{0}", "\u{7f16}s"] {
            assert_eq!(parse(text), Err(DurationError::Malformed(text.into())), "{text:?}");
        }
        for text in ["3", "1h3", "-3", "1.5"] {
            assert_eq!(parse(text), Err(DurationError::NoUnit(text.into())), "{text:?}");
        }
        for (text, unit) in [
            ("1d", "d"),
            ("1w", "w"),
            ("3000y", "y"),
            ("1H", "H"),
            ("1s-", "s-"),
            ("1s-2s", "s-"),
            ("5 s", " s"),
            ("5\u{7f16}", "\u{7f16}"),
        ] {
            assert_eq!(parse(text), Err(DurationError::UnknownUnit { text: text.into(), unit: unit.into() }), "{text:?}");
        }
        for text in [
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "9223372036854775.808us",
            "3000000h",
            "2562047h47m16.854775808s",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), Err(DurationError::TooLong(text.into())), "{text:?}");
        }
    }

    #[test]
    fn formats_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
            (-1, "-1ns"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(SignedDuration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn an_absent_duration_is_none_and_a_negative_one_is_refused() {
        assert_eq!(parse_optional(""), Ok(None));
        assert_eq!(parse_optional("1m0s"), Ok(Some(Duration::from_secs(60))));
        assert!(parse_optional("-1s").is_err());
    }

    #[test]
    fn sizes_read_as_upstream_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (781, "781 B"),
            (1_024, "1024 B"),
            (1_025, "1.001 KiB"),
            (1_271, "1.241 KiB"),
            (1 << 20, "1024.000 KiB"),
            ((1 << 20) + 1, "1.000 MiB"),
            (3 << 30, "3.000 GiB"),
            (5 << 40, "5.000 TiB"),
            (u64::MAX, "16777216.000 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn every_duration_survives_a_round_trip(nanoseconds in any::<i64>()) {
            let duration = SignedDuration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn small_durations_survive_a_round_trip(nanoseconds in -5_000_000_000_i64..5_000_000_000) {
            let duration = SignedDuration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_fail_otherwise(text in "[-+]?[0-9.a-zµ ]{0,30}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&format(duration)), Ok(duration));
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
            let _ = parse_optional(&text);
        }
    }
}
