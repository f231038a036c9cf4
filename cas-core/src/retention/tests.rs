use super::calendar::tests::at;
use super::*;
use proptest::prelude::*;

const NOW: i64 = i64::MAX;
const DAY_NS: i64 = 86_400_000_000_000;

fn version(key: &'static str, made: Moment) -> Version<&'static str> {
    Version { key, made, tags: Vec::new() }
}

/// Oldest first, UTC.
fn history() -> Vec<Version<&'static str>> {
    vec![
        version("2024-05-01 10:00", at(2024, 5, 1, 10, 0, 0)),
        version("2025-12-31 23:00", at(2025, 12, 31, 23, 0, 0)),
        version("2026-01-01 00:30", at(2026, 1, 1, 0, 30, 0)),
        version("2026-01-04 08:00", at(2026, 1, 4, 8, 0, 0)),
        version("2026-01-05 08:00", at(2026, 1, 5, 8, 0, 0)),
        version("2026-01-05 09:00", at(2026, 1, 5, 9, 0, 0)),
        version("2026-01-05 09:30", at(2026, 1, 5, 9, 30, 0)),
    ]
}

fn kept(policy: &KeepPolicy) -> Vec<String> {
    let text = |(key, reasons): (&&str, &[Reason])| {
        let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
        format!("{key}: {}", reasons.join(" + "))
    };
    policy.plan(history(), NOW).kept().map(text).collect()
}

#[test]
fn each_period_keeps_its_newest() {
    let none = KeepPolicy::default();
    assert_eq!(
        kept(&KeepPolicy { last: Count::UpTo(2), ..none.clone() }),
        ["2026-01-05 09:30: last", "2026-01-05 09:00: last"]
    );
    assert_eq!(
        kept(&KeepPolicy { hourly: Count::UpTo(2), ..none.clone() }),
        ["2026-01-05 09:30: hourly", "2026-01-05 08:00: hourly"]
    );
    assert_eq!(
        kept(&KeepPolicy { daily: Count::UpTo(3), ..none.clone() }),
        ["2026-01-05 09:30: daily", "2026-01-04 08:00: daily", "2026-01-01 00:30: daily"]
    );
    assert_eq!(
        kept(&KeepPolicy { weekly: Count::UpTo(2), ..none.clone() }),
        ["2026-01-05 09:30: weekly", "2026-01-04 08:00: weekly"]
    );
    assert_eq!(
        kept(&KeepPolicy { monthly: Count::UpTo(2), ..none.clone() }),
        ["2026-01-05 09:30: monthly", "2025-12-31 23:00: monthly"]
    );
    assert_eq!(
        kept(&KeepPolicy { yearly: Count::Unlimited, ..none }),
        ["2026-01-05 09:30: yearly", "2025-12-31 23:00: yearly", "2024-05-01 10:00: yearly"]
    );
}

#[test]
fn rules_add_up() {
    let policy = KeepPolicy { last: Count::UpTo(1), monthly: Count::UpTo(2), ..KeepPolicy::default() };
    assert_eq!(kept(&policy), ["2026-01-05 09:30: last + monthly", "2025-12-31 23:00: monthly"]);
}

#[test]
fn the_oldest_stays_while_a_rule_has_counts_left() {
    let same_day = vec![version("a", at(2026, 1, 1, 1, 0, 0)), version("b", at(2026, 1, 1, 2, 0, 0))];
    let policy = KeepPolicy { daily: Count::UpTo(2), ..KeepPolicy::default() };
    let plan = policy.plan(same_day.clone(), NOW);
    assert_eq!(plan.removed().count(), 0);
    let oldest = Reason::Period { period: Period::Daily, within: None, oldest: true };
    assert_eq!(plan.decisions[1].verdict, Verdict::Keep(vec![oldest]));
    let policy = KeepPolicy { daily: Count::UpTo(1), ..KeepPolicy::default() };
    assert_eq!(policy.plan(same_day, NOW).removed().collect::<Vec<_>>(), [&"a"]);
}

#[test]
fn within_counts_back_from_the_newest() {
    let within = |text: &str| KeepPolicy { within: text.parse().unwrap(), ..KeepPolicy::default() };
    assert_eq!(kept(&within("1h")), ["2026-01-05 09:30: within 1h", "2026-01-05 09:00: within 1h"]);
    assert_eq!(kept(&within("1d2h")).len(), 4);
    assert_eq!(kept(&within("5d")).len(), 6);
    assert_eq!(kept(&within("2y")).len(), 7);
    let daily = KeepPolicy { within_daily: "2d".parse().unwrap(), ..KeepPolicy::default() };
    assert_eq!(kept(&daily), ["2026-01-05 09:30: daily within 2d", "2026-01-04 08:00: daily within 2d"]);
    // Exactly so long before is outside.
    let pair = vec![version("a", at(2026, 1, 1, 0, 0, 0)), version("b", at(2026, 1, 2, 0, 0, 0))];
    assert_eq!(within("1d").plan(pair.clone(), NOW).removed().collect::<Vec<_>>(), [&"a"]);
    assert_eq!(within("1d1h").plan(pair, NOW).removed().count(), 0);
}

#[test]
fn a_version_from_the_future_does_not_age_the_others() {
    let now = at(2026, 1, 6, 0, 0, 0);
    let mut versions = history();
    versions.push(version("future", at(2099, 1, 1, 0, 0, 0)));
    let policy = KeepPolicy { within: "1h".parse().unwrap(), ..KeepPolicy::default() };
    let plan = policy.plan(versions, now.time_ns);
    let kept: Vec<&str> = plan.kept().map(|(key, _)| *key).collect();
    assert_eq!(kept, ["future", "2026-01-05 09:30", "2026-01-05 09:00"]);
    let before_all = policy.plan(history(), 0);
    assert_eq!(before_all.removed().count(), 0);
}

#[test]
fn tags_keep_without_counting() {
    let mut versions = history();
    versions[0].tags = vec!["a".into(), "b".into()];
    versions[1].tags = vec!["a".into()];
    let tags = |lists: &[&[&str]]| KeepPolicy {
        tags: lists.iter().map(|list| list.iter().map(|t| (*t).to_owned()).collect()).collect(),
        last: Count::UpTo(1),
        ..KeepPolicy::default()
    };
    let kept = |policy: KeepPolicy| {
        policy.plan(versions.clone(), NOW).kept().map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(kept(tags(&[&["a", "b"]])), ["2026-01-05 09:30", "2024-05-01 10:00"]);
    assert_eq!(kept(tags(&[&["b"], &["a"]])), ["2026-01-05 09:30", "2025-12-31 23:00", "2024-05-01 10:00"]);
    assert_eq!(kept(tags(&[&[""]])).len(), 5);
    assert_eq!(kept(tags(&[&["c"]])), ["2026-01-05 09:30"]);
}

#[test]
fn a_policy_that_says_nothing_keeps_everything() {
    for policy in [
        KeepPolicy::default(),
        KeepPolicy { allow_remove_all: true, ..KeepPolicy::default() },
        KeepPolicy { daily: Count::UpTo(0), ..KeepPolicy::default() },
    ] {
        assert!(policy.is_empty());
        let plan = policy.plan(history(), NOW);
        assert!(plan.kept().all(|(_, reasons)| reasons == [Reason::NoPolicy]));
        assert_eq!(plan.kept().count(), history().len());
    }
    assert_eq!(KeepPolicy::default().plan(Vec::<Version<u8>>::new(), NOW).decisions, []);
}

/// The policy keeps a tag that nothing has.
#[test]
fn the_newest_stays_unless_that_is_allowed() {
    let policy = KeepPolicy { tags: vec![vec!["none".into()]], ..KeepPolicy::default() };
    let mut versions = history();
    // The clock was wrong when the last one was made: it is the newest all the same.
    versions.push(version("1980", at(1980, 1, 1, 0, 0, 0)));
    let plan = policy.plan(versions.clone(), NOW);
    let kept: Vec<(&&str, &[Reason])> = plan.kept().collect();
    assert_eq!(kept, [(&"2026-01-05 09:30", &[Reason::Newest][..]), (&"1980", &[Reason::Newest][..])]);
    let plan = KeepPolicy { allow_remove_all: true, ..policy }.plan(versions, NOW);
    assert_eq!(plan.kept().count(), 0);
}

#[test]
fn the_local_day_of_each_version_counts() {
    let versions = |offset| {
        vec![
            version("a", Moment { time_ns: at(2026, 1, 1, 22, 30, 0).time_ns, utc_offset_s: offset }),
            version("b", Moment { time_ns: at(2026, 1, 1, 23, 30, 0).time_ns, utc_offset_s: offset }),
            version("c", Moment { time_ns: at(2026, 1, 2, 0, 30, 0).time_ns, utc_offset_s: offset }),
        ]
    };
    let policy = KeepPolicy { daily: Count::UpTo(2), ..KeepPolicy::default() };
    let removed = |offset| policy.plan(versions(offset), NOW).removed().copied().collect::<Vec<_>>();
    assert_eq!(removed(0), ["a"]);
    assert_eq!(removed(3600), ["b"]);
}

#[test]
fn counts_are_numbers_or_unlimited() {
    assert_eq!("unlimited".parse(), Ok(Count::Unlimited));
    assert_eq!("7".parse(), Ok(Count::UpTo(7)));
    for bad in ["", "-1", "x", "4294967296"] {
        assert_eq!(bad.parse::<Count>(), Err(CountError(bad.to_owned())));
    }
}

/// Another way to say it: cut the list (newest first) into runs of one period; keep the first of each of the first
/// runs; if there were fewer runs than may be kept, the very last version too.
fn naive(count: u32, buckets: &[i64]) -> Vec<bool> {
    let mut keep = vec![false; buckets.len()];
    let mut runs = 0;
    for i in 0..buckets.len() {
        if i == 0 || buckets[i] != buckets[i - 1] {
            runs += 1;
            keep[i] = runs <= count;
        }
    }
    if let Some(last) = keep.last_mut() {
        *last |= runs < count;
    }
    keep
}

fn civil_key(period: Period, made: Moment, nth: usize) -> i64 {
    let seconds = made.time_ns.div_euclid(1_000_000_000) + i64::from(made.utc_offset_s);
    let days = seconds.div_euclid(86_400);
    let (mut year, mut rest) = (1970, days);
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    while rest >= 365 + i64::from(leap(year)) {
        rest -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    match period {
        Period::Last => nth as i64,
        Period::Hourly => days * 24 + seconds.rem_euclid(86_400) / 3600,
        Period::Daily => days,
        Period::Weekly => days - (days + 3) % 7,
        Period::Monthly => year * 100 + month as i64,
        Period::Yearly => year,
    }
}

proptest! {
    #[test]
    fn plans_agree_with_a_naive_reading_of_the_rules(
        mut times in prop::collection::vec(0..3000 * DAY_NS / 7, 0..60),
        scale in 1i64..8,
        offsets in prop::collection::vec(-12i32..15, 60),
        counts in prop::array::uniform6(0u32..6),
        span_days in 0u32..800,
    ) {
        times.iter_mut().for_each(|t| *t = *t / scale + DAY_NS);
        times.sort_unstable();
        let made = |(i, t): (usize, &i64)| Moment { time_ns: *t, utc_offset_s: offsets[i] * 3600 };
        let moments: Vec<Moment> = times.iter().enumerate().map(made).collect();
        let versions = moments.iter().enumerate().map(|(key, made)| Version { key, made: *made, tags: vec![] }).collect();
        let [last, hourly, daily, weekly, monthly, yearly] = counts.map(Count::UpTo);
        let within = Span { days: span_days, ..Span::default() };
        let policy =
            KeepPolicy { last, hourly, daily, weekly, monthly, yearly, within, ..KeepPolicy::default() };
        let plan = policy.plan(versions, NOW);

        let newest_first: Vec<Moment> = moments.iter().rev().copied().collect();
        let periods =
            [Period::Last, Period::Hourly, Period::Daily, Period::Weekly, Period::Monthly, Period::Yearly];
        let mut keep = vec![policy.is_empty(); times.len()];
        for (period, count) in periods.into_iter().zip(counts) {
            let buckets: Vec<i64> =
                newest_first.iter().enumerate().map(|(nth, m)| civil_key(period, *m, nth)).collect();
            keep.iter_mut().zip(naive(count, &buckets)).for_each(|(keep, more)| *keep |= more);
        }
        for (keep, made) in keep.iter_mut().zip(&newest_first) {
            *keep |= span_days > 0 && made.time_ns > newest_first[0].time_ns - i64::from(span_days) * DAY_NS;
        }
        if let Some(first) = keep.first_mut() {
            *first = true;
        }
        let found: Vec<(usize, bool)> =
            plan.decisions.iter().map(|d| (d.key, d.verdict != Verdict::Remove)).collect();
        let expected: Vec<(usize, bool)> = (0..times.len()).rev().zip(keep).collect();
        prop_assert_eq!(found, expected);
    }
}
