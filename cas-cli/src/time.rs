//! Times for people and for programs.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Seconds east of UTC, now, where this runs.
pub fn local_offset_s() -> i64 {
    i64::from(Zoned::now().offset().seconds())
}

/// Seconds east of UTC at a moment, where this runs.
pub fn offset_s_at(ns: i64) -> i32 {
    zoned(ns).map_or(0, |z| z.offset().seconds())
}

/// Local date and time to the second.
pub fn local(ns: i64) -> String {
    zoned(ns).map_or_else(|| "?".to_owned(), |z| z.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// RFC 3339 with the local offset.
pub fn rfc3339(ns: i64) -> String {
    zoned(ns).map_or_else(|| "?".to_owned(), |z| z.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string())
}

/// Local date and time of a file, to the second.
pub fn local_of(seconds: i64, nanoseconds: u32) -> String {
    file_time(seconds, nanoseconds).map_or_else(|| "?".to_owned(), |z| z.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// RFC 3339 of a file's time, with the local offset; the number of seconds where no calendar reaches.
pub fn rfc3339_of(seconds: i64, nanoseconds: u32) -> String {
    let zoned = file_time(seconds, nanoseconds);
    zoned.map_or_else(|| seconds.to_string(), |z| z.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string())
}

fn file_time(seconds: i64, nanoseconds: u32) -> Option<Zoned> {
    Some(Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()?.to_zoned(TimeZone::system()))
}

fn zoned(ns: i64) -> Option<Zoned> {
    Some(Timestamp::from_nanosecond(i128::from(ns)).ok()?.to_zoned(TimeZone::system()))
}
