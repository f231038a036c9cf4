//! Days and dates of the Gregorian calendar, in UTC: what a schedule needs of a calendar, exactly.

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

/// A minute of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// The date of a day, counted from 1970-01-01. (Howard Hinnant, "chrono-compatible low-level date algorithms".)
    pub fn of_day(day: i64) -> Self {
        let shifted = day + 719_468; // From 0000-03-01, so that a leap day ends a year.
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = (of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
        Self { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }
}

/// The day of the week of a day counted from 1970-01-01: 0 is Sunday.
pub fn weekday(day: i64) -> u8 {
    (day + 4).rem_euclid(7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: i64, month: u8, day: u8) -> Date {
        Date { year, month, day }
    }

    #[test]
    fn known_days_have_their_dates() {
        for (day, expected, of_week) in [
            (0, date(1970, 1, 1), 4),
            (-1, date(1969, 12, 31), 3),
            (59, date(1970, 3, 1), 0),
            (11_016, date(2000, 2, 29), 2),
            (11_017, date(2000, 3, 1), 3),
            (19_782, date(2024, 2, 29), 4),
            (20_513, date(2026, 3, 1), 0),
            (47_540, date(2100, 2, 28), 0),
            (47_541, date(2100, 3, 1), 1),
        ] {
            assert_eq!((Date::of_day(day), weekday(day)), (expected, of_week), "{day}");
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let length = |date: Date| match date.month {
            4 | 6 | 9 | 11 => 30,
            2 if date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0) => 29,
            2 => 28,
            _ => 31,
        };
        let mut last = Date::of_day(-200_000);
        for day in -199_999..200_000 {
            let next = match last {
                Date { month: 12, day: 31, year } => date(year + 1, 1, 1),
                Date { year, month, day } if day == length(last) => date(year, month + 1, 1),
                Date { year, month, day } => date(year, month, day + 1),
            };
            assert_eq!(Date::of_day(day), next);
            last = next;
        }
    }
}
