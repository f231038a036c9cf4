//! Spans of calendar time, as people write them in a policy: `1y6m14d12h`.

use std::fmt;
use std::str::FromStr;

/// Years, months, days and hours; zero means "not asked for".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// Text that is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span of time like 1y6m14d12h")]
pub struct SpanError(pub String);

impl Span {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Span {
    type Err = SpanError;

    /// Numbers with a unit each: y, m (months), d, h; each unit once at most, in any order.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.chars().take(100).collect());
        let (mut span, mut seen) = (Self::default(), String::new());
        for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let unit = part.chars().next_back().filter(|unit| !seen.contains(*unit)).ok_or_else(error)?;
            seen.push(unit);
            let number = part[..part.len() - unit.len_utf8()].parse().map_err(|_| error())?;
            match unit {
                'y' => span.years = number,
                'm' => span.months = number,
                'd' => span.days = number,
                'h' => span.hours = number,
                _ => return Err(error()),
            }
        }
        if seen.is_empty() { Err(error()) } else { Ok(span) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0h");
        }
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_span_is_refused() {
        for bad in ["", "1", "y", "1x", "1y1y", "1y 2m", "-1d", "1d2", "4294967296h", "1ß", "d1"] {
            assert_eq!(bad.parse::<Span>(), Err(SpanError(bad.to_owned())));
        }
        assert_eq!("12h1y".parse(), Ok(Span { years: 1, hours: 12, ..Span::default() }));
        assert_eq!("0d".parse(), Ok(Span::default()));
    }

    proptest! {
        #[test]
        fn spans_go_there_and_back(years: u32, months: u32, days: u32, hours: u32) {
            let span = Span { years, months, days, hours };
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
