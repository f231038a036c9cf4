//! Amounts as they are typed: sizes (`500G`, `1.5TiB`), spans of time (`30d`, `1d12h`, `90m`), moments. Powers of 1024.

use cas_client::{ClientError, Result};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Units of time, in nanoseconds.
const UNITS_NS: [(&str, i64); 7] = [
    ("y", 365 * DAY_NS),
    ("w", 7 * DAY_NS),
    ("d", DAY_NS),
    ("h", 3600 * SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("s", SECOND_NS),
    ("ms", SECOND_NS / 1000),
];

/// A number of bytes. For clap.
pub fn size(text: &str) -> std::result::Result<u64, String> {
    let wrong = || "expected a size like 500G or 1.5TiB".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_lowercase().trim_end_matches(['b', 'i']) {
        "" => 0,
        unit => 1 + ["k", "m", "g", "t", "p", "e"].iter().position(|known| *known == unit).ok_or_else(wrong)? as i32,
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * 1024f64.powi(power);
    if number >= 0.0 && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A span of time in nanoseconds, above zero. For clap.
pub fn span(text: &str) -> std::result::Result<i64, String> {
    let wrong = || "expected a time like 30d, 12h, 90m or 1d12h".to_owned();
    let (mut total, mut rest): (i64, &str) = (0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let behind = &rest[digits..];
        let (unit, behind) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let ns = UNITS_NS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?.1;
        total = number.checked_mul(ns).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = behind;
    }
    if total > 0 { Ok(total) } else { Err(wrong()) }
}

/// A span for people, in the words in which it is typed.
pub fn span_text(ns: i64) -> String {
    let mut left = ns.max(0) / SECOND_NS;
    let mut text = String::new();
    for (unit, seconds) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
        if left >= seconds {
            text.push_str(&format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A moment in nanoseconds since 1970: a span from `now_ns`, or a local date and time.
pub fn moment(text: &str, now_ns: i64) -> Result<i64> {
    if let Ok(span) = span(text) {
        return Ok(now_ns.saturating_add(span));
    }
    let wrong = || ClientError::Usage(format!("{text:?}: expected a time like 2h, or like 2026-11-21T18:00"));
    let local: DateTime = text.trim().replacen(' ', "T", 1).parse().map_err(|_| wrong())?;
    let zoned = local.to_zoned(TimeZone::system()).map_err(|_| wrong())?;
    i64::try_from(zoned.timestamp().as_nanosecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("500G", 500 << 30), ("1.5TiB", 3 << 39), ("2mb", 2 << 20)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1G", "1X", "1GX", "99999E", "nan"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn spans_read_as_they_are_written() {
        for (text, seconds) in [("30d", 30 * 86_400), ("1d12h", 129_600), ("90m", 5400), ("1s", 1)] {
            assert_eq!(span(text), Ok(seconds * SECOND_NS), "{text}");
            assert_eq!(span(&span_text(seconds * SECOND_NS)), Ok(seconds * SECOND_NS));
        }
        assert_eq!(span("2s250ms"), Ok(2_250_000_000));
        for text in ["", "30", "d", "0d", "1x", "-1d", "999999999y", "1é"] {
            assert!(span(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_moment_is_a_span_from_now_or_a_date() {
        assert_eq!(moment("1h", 5).unwrap(), 3600 * SECOND_NS + 5);
        let (with_t, with_space) = (moment("2026-11-21T18:00", 0).unwrap(), moment("2026-11-21 18:00", 0).unwrap());
        assert_eq!(with_t, with_space);
        assert!(with_t > 1_700_000_000 * SECOND_NS);
        assert!(moment("soon", 0).is_err());
    }
}
