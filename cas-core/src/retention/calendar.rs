//! The calendar that retention counts by: the proleptic Gregorian one, in the local time of each snapshot.
//!
//! Promise: exact for every time an i64 of nanoseconds can say; no time zone database, offsets are given.

/// Nanoseconds of a second.
const NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// A moment, with the offset of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// Local time minus UTC, seconds.
    pub utc_offset_s: i32,
}

/// A local date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Moment {
    fn local_seconds(self) -> i64 {
        self.time_ns.div_euclid(NS) + i64::from(self.utc_offset_s)
    }

    /// Days since 1970-01-01, local.
    pub(super) fn local_day(self) -> i64 {
        self.local_seconds().div_euclid(DAY_S)
    }

    /// Hours since 1970-01-01 00:00, local: what the clock showed, so an hour that is repeated in autumn counts once.
    pub(super) fn local_hour(self) -> i64 {
        self.local_seconds().div_euclid(3600)
    }

    /// Weeks (from Monday, as ISO 8601) since that of 1970-01-01, local.
    pub(super) fn local_week(self) -> i64 {
        // 1970-01-01 was a Thursday.
        (self.local_day() + 3).div_euclid(7)
    }

    /// The local date.
    pub(super) fn local_date(self) -> Date {
        date_of_day(self.local_day())
    }

    /// The same local time of day some calendar time earlier, in nanoseconds since 1970 UTC. A day past the
    /// end of its month runs over into the next: one month before March 31 is March 3 (or 2).
    pub(super) fn earlier_ns(self, years: u32, months: u32, days: u32, hours: u32) -> i128 {
        let date = self.local_date();
        let month0 = date.year * 12 + date.month - 1 - i64::from(years) * 12 - i64::from(months);
        let first = Date { year: month0.div_euclid(12), month: month0.rem_euclid(12) + 1, day: 1 };
        let day = day_of_date(first) + date.day - 1 - i64::from(days);
        let seconds = day * DAY_S + self.local_seconds().rem_euclid(DAY_S) - i64::from(hours) * 3600;
        i128::from(seconds - i64::from(self.utc_offset_s)) * i128::from(NS) + i128::from(self.time_ns.rem_euclid(NS))
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, eras have 400 of them.
fn day_of_date(date: Date) -> i64 {
    let year = date.year - i64::from(date.month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((date.month + 9) % 12) + 2) / 5 + date.day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Its inverse, `civil_from_days`.
fn date_of_day(day: i64) -> Date {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    Date { year: era * 400 + year_of_era + i64::from(month <= 2), month, day }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A moment by its local clock.
    pub fn at(year: i64, month: i64, day: i64, hour: i64, minute: i64, utc_offset_s: i32) -> Moment {
        let local = day_of_date(Date { year, month, day }) * DAY_S + hour * 3600 + minute * 60;
        Moment { time_ns: (local - i64::from(utc_offset_s)) * NS, utc_offset_s }
    }

    /// Walks from day to day as a child would, and compares.
    #[test]
    fn dates_agree_with_counting_days_one_by_one() {
        let mut date = Date { year: 1600, month: 1, day: 1 };
        for day in day_of_date(date).. {
            assert_eq!((date_of_day(day), day_of_date(date)), (date, day));
            let leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
            let length = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][date.month as usize - 1];
            (date.day, date.month) = if date.day < length { (date.day + 1, date.month) } else { (1, date.month + 1) };
            (date.month, date.year) = if date.month > 12 { (1, date.year + 1) } else { (date.month, date.year) };
            if date.year == 2300 {
                break;
            }
        }
        assert_eq!(day_of_date(Date { year: 1970, month: 1, day: 1 }), 0);
        assert_eq!(day_of_date(Date { year: 2000, month: 2, day: 29 }), 11_016);
    }

    #[test]
    fn weeks_begin_on_monday() {
        let week = |y, m, d| at(y, m, d, 12, 0, 0).local_week();
        assert_eq!(week(2020, 12, 28), week(2021, 1, 3));
        assert_eq!(week(2021, 1, 4), week(2021, 1, 3) + 1);
        assert_eq!(week(1969, 12, 29), week(1970, 1, 1));
        assert_eq!(week(1969, 12, 28), week(1970, 1, 1) - 1);
    }

    #[test]
    fn local_time_decides() {
        let moment = at(2026, 1, 1, 0, 30, 3600);
        assert_eq!(moment.local_date(), Date { year: 2026, month: 1, day: 1 });
        let utc = Moment { utc_offset_s: 0, ..moment };
        assert_eq!(utc.local_date(), Date { year: 2025, month: 12, day: 31 });
        for (time_ns, utc_offset_s) in [(i64::MIN, i32::MIN), (i64::MAX, i32::MAX)] {
            let year = Moment { time_ns, utc_offset_s }.local_date().year;
            assert!((1600..2340).contains(&year), "{year}");
        }
    }

    #[test]
    fn going_back_follows_the_calendar() {
        let noon = |y, m, d| i128::from(at(y, m, d, 12, 0, 7200).time_ns);
        let from = |y, m, d| at(y, m, d, 12, 0, 7200);
        assert_eq!(from(2026, 3, 31).earlier_ns(0, 1, 0, 0), noon(2026, 3, 3));
        assert_eq!(from(2024, 3, 31).earlier_ns(0, 1, 0, 0), noon(2024, 3, 2));
        assert_eq!(from(2024, 2, 29).earlier_ns(1, 0, 0, 0), noon(2023, 3, 1));
        assert_eq!(from(2026, 1, 15).earlier_ns(0, 13, 0, 0), noon(2024, 12, 15));
        assert_eq!(from(2026, 1, 15).earlier_ns(0, 0, 15, 24), noon(2025, 12, 30));
        let far = Moment { time_ns: i64::MIN, utc_offset_s: 0 }.earlier_ns(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        assert!(far < i128::from(i64::MIN));
    }
}
