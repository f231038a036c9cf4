//! Cron expressions, in UTC: `minute hour day-of-month month day-of-week`, or `@hourly` and its like.
//!
//! Promise: what Vixie's cron would run at a minute is run at that minute. Each field is `*`, a number, a range
//! `a-b`, any of them with a step `/n`, or a list of those with commas; months and weekdays also have their English
//! names of three letters; Sunday is 0 or 7. If both day fields are restricted (do not begin with `*`), one of both is enough.
//! An expression that no day ever fits (30 February) is refused.

use super::civil::{DAY_S, Date, weekday};
use std::fmt;
use std::str::FromStr;

/// The calendar repeats after 400 years, weekdays included; a leap day on a given weekday comes within 40.
const HORIZON_DAYS: i64 = 41 * 366;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether one of both day fields is enough.
    either_day: bool,
}

/// Text that is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a cron expression: {problem}")]
pub struct CronError {
    /// What stood there.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Cron {
    /// The first minute after `after_s` that fits, both in seconds since 1970.
    pub fn next(&self, after_s: i64) -> i64 {
        let first = after_s.div_euclid(60) * 60 + 60;
        self.from(first).expect("an expression that never fits was refused")
    }

    fn from(&self, first_s: i64) -> Option<i64> {
        let today = first_s.div_euclid(DAY_S);
        for day in today..today + HORIZON_DAYS {
            if !self.fits_day(day) {
                continue;
            }
            let begin = if day == today { first_s.rem_euclid(DAY_S) / 60 } else { 0 };
            if let Some(minute) = (begin..DAY_S / 60).find(|minute| self.fits_minute(*minute)) {
                return Some(day * DAY_S + minute * 60);
            }
        }
        None
    }

    fn fits_minute(&self, of_day: i64) -> bool {
        has(self.hours, of_day / 60) && has(self.minutes, of_day % 60)
    }

    fn fits_day(&self, day: i64) -> bool {
        let date = Date::of_day(day);
        let (of_month, of_week) = (has(self.days, date.day.into()), has(self.weekdays, weekday(day).into()));
        let fits = if self.either_day { of_month || of_week } else { of_month && of_week };
        has(self.months, date.month.into()) && fits
    }
}

fn has(set: u64, value: i64) -> bool {
    set >> value & 1 == 1
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        parse(text).map_err(|problem| CronError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Cron, String> {
    let spelled = match text.trim() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    };
    let fields: Vec<&str> = spelled.split_whitespace().collect();
    let [minute, hour, day, month, of_week] = fields[..] else {
        return Err(format!("it has {} fields, expected 5", fields.len()));
    };
    let weekdays = field("day of week", of_week, 0, 7, &WEEKDAYS)?;
    let cron = Cron {
        text: text.trim().to_owned(),
        minutes: field("minute", minute, 0, 59, &[])?,
        hours: field("hour", hour, 0, 23, &[])?,
        days: field("day of month", day, 1, 31, &[])?,
        months: field("month", month, 1, 12, &MONTHS)?,
        weekdays: (weekdays | weekdays >> 7) & 0x7f,
        either_day: !day.starts_with('*') && !of_week.starts_with('*'),
    };
    cron.from(0).ok_or("no day ever fits it")?;
    Ok(cron)
}

fn field(what: &str, text: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(number(what, step)?)),
        };
        let value = |text: &str| match names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            Some(at) => Ok(at as u32 + least.min(1)),
            None => number(what, text),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/10` is from 5 on: every other reading makes the step mean nothing.
            None if step.is_some() => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if from < least || to > most || from > to {
            return Err(format!("the {what} {range:?} is not within {least}-{most}"));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(format!("the step of the {what} is zero"));
        }
        (from..=to).step_by(step as usize).for_each(|value| set |= 1 << value);
    }
    Ok(set)
}

fn number(what: &str, text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| format!("the {what} {text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(day: i64, hour: i64, minute: i64) -> i64 {
        day * DAY_S + hour * 3600 + minute * 60
    }

    /// 2026-03-01, a Sunday.
    const SUNDAY: i64 = 20_513;

    #[test]
    fn the_next_minute_is_the_one_that_fits() {
        for (text, after, expected) in [
            ("* * * * *", 0, 60),
            ("* * * * *", 59, 60),
            ("* * * * *", 60, 120),
            ("30 2 * * *", at(SUNDAY, 2, 29), at(SUNDAY, 2, 30)),
            ("30 2 * * *", at(SUNDAY, 2, 30), at(SUNDAY + 1, 2, 30)),
            ("*/15 * * * *", at(SUNDAY, 23, 50), at(SUNDAY + 1, 0, 0)),
            ("5/20 * * * *", at(SUNDAY, 1, 26), at(SUNDAY, 1, 45)),
            ("0 8-18/5,23 * * *", at(SUNDAY, 13, 0), at(SUNDAY, 18, 0)),
            ("0 8-18/5,23 * * *", at(SUNDAY, 18, 0), at(SUNDAY, 23, 0)),
            ("0 0 * * mon-fri", at(SUNDAY, 0, 0), at(SUNDAY + 1, 0, 0)),
            ("0 0 * * 7", at(SUNDAY, 0, 0), at(SUNDAY + 7, 0, 0)),
            ("0 0 * * SUN,5-7", at(SUNDAY, 0, 0), at(SUNDAY + 5, 0, 0)),
            ("0 0 31 * *", at(SUNDAY, 0, 0), at(SUNDAY + 30, 0, 0)),
            ("0 0 31 4,5 *", at(SUNDAY, 0, 0), at(SUNDAY + 91, 0, 0)),
            // Either day field is enough when both are given, …
            ("0 0 13 * fri", at(SUNDAY, 0, 0), at(SUNDAY + 5, 0, 0)),
            ("0 0 3 * fri", at(SUNDAY, 0, 0), at(SUNDAY + 2, 0, 0)),
            // … and both must fit when one begins with a star.
            ("0 0 */2 * tue", at(SUNDAY, 0, 0), at(SUNDAY + 2, 0, 0)),
            ("0 12 29 feb *", at(SUNDAY, 0, 0), at(21_243, 12, 0)),
            ("@monthly", at(SUNDAY, 0, 0), at(SUNDAY + 31, 0, 0)),
            ("@yearly", at(SUNDAY, 0, 0), at(20_819, 0, 0)),
            ("0 0 1 1 *", -1, 0),
        ] {
            assert_eq!(text.parse::<Cron>().unwrap().next(after), expected, "{text} after {after}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused_with_its_reason() {
        for (text, problem) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("@reboot", "1 fields"),
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * * 13 *", "month"),
            ("* * * foo *", "month"),
            ("* * * * 8", "day of week"),
            ("9-3 * * * *", "not within"),
            ("*/0 * * * *", "zero"),
            ("-1 * * * *", "not a number"),
            ("1,,2 * * * *", "not a number"),
            ("99999999999 * * * *", "not a number"),
            ("0 0 30 2 *", "no day"),
        ] {
            let error = text.parse::<Cron>().unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        /// Against a walk over every minute.
        #[test]
        fn nothing_between_is_passed_over(
            minute in 0u32..60, hours in proptest::collection::vec(0u32..24, 1..3), day in 1u32..29, after in 0i64..2_000_000_000,
        ) {
            let hours: Vec<String> = hours.iter().map(u32::to_string).collect();
            let cron: Cron = format!("{minute} {} {day} * *", hours.join(",")).parse().unwrap();
            let next = cron.next(after);
            let walked = (after.div_euclid(60) + 1..).find(|m| {
                cron.fits_day((m * 60).div_euclid(DAY_S)) && cron.fits_minute((m * 60).rem_euclid(DAY_S) / 60)
            });
            prop_assert_eq!(Some(next), walked.map(|m| m * 60));
        }

        #[test]
        fn no_text_panics(text: String) {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert_eq!(cron.to_string().parse::<Cron>().unwrap(), cron);
            }
        }
    }
}
