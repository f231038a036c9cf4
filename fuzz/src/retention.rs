//! Retention: any policy on any history.

use super::input::Input;
use cas_core::retention::{Count, KeepPolicy, Moment, Reason, Span, Verdict, Version};

/// Every version is judged once; the newest stays unless that was allowed; a policy that says nothing keeps all.
pub fn retention(input: &[u8]) -> bool {
    let mut input = Input(input);
    let policy = policy(&mut input);
    let now_ns = i64::from_le_bytes(input.number());
    let mut versions = Vec::new();
    while !input.0.is_empty() && versions.len() < 100 {
        versions.push(version(&mut input, versions.len()));
    }
    let count = versions.len();
    let plan = policy.plan(versions.clone(), now_ns);
    let mut keys: Vec<usize> = plan.decisions.iter().map(|decision| decision.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..count).collect::<Vec<_>>());
    let kept: Vec<(&usize, &[Reason])> = plan.kept().collect();
    assert!(kept.iter().all(|(_, reasons)| !reasons.is_empty()), "what stays has a reason");
    assert_eq!(kept.len() + plan.removed().count(), count);
    if policy.is_empty() {
        assert_eq!(kept.len(), count);
    }
    if !policy.allow_remove_all && count > 0 {
        let newest = plan.decisions.iter().find(|decision| decision.key == count - 1).map(|d| &d.verdict);
        assert_ne!(newest, Some(&Verdict::Remove), "the last of the history stays");
    }
    assert_eq!(policy.plan(versions, now_ns), plan);
    true
}

fn policy(input: &mut Input<'_>) -> KeepPolicy {
    let mut policy = KeepPolicy::default();
    for count in [
        &mut policy.last,
        &mut policy.hourly,
        &mut policy.daily,
        &mut policy.weekly,
        &mut policy.monthly,
        &mut policy.yearly,
    ] {
        *count = match input.byte() {
            255 => Count::Unlimited,
            n => Count::UpTo(n.into()),
        };
    }
    for span in [
        &mut policy.within,
        &mut policy.within_hourly,
        &mut policy.within_daily,
        &mut policy.within_weekly,
        &mut policy.within_monthly,
        &mut policy.within_yearly,
    ] {
        *span = self::span(input);
    }
    let tags = input.byte();
    policy.tags = (0..tags % 4).map(|n| vec![tag(tags >> n)]).collect();
    policy.allow_remove_all = tags & 0x80 != 0;
    policy
}

/// Small numbers mostly, any number sometimes.
fn span(input: &mut Input<'_>) -> Span {
    let kind = input.byte();
    let mut part = |bit: u8| match kind >> bit & 3 {
        0 => 0,
        1 => input.byte().into(),
        _ => u32::from_le_bytes(input.number()),
    };
    Span { years: part(0), months: part(2), days: part(4), hours: part(6) }
}

fn version(input: &mut Input<'_>, key: usize) -> Version<usize> {
    let choice = input.byte();
    let time_ns = if choice & 1 == 0 {
        i64::from(u32::from_le_bytes(input.number())) * 1_000_000_000
    } else {
        i64::from_le_bytes(input.number())
    };
    let utc_offset_s = if choice & 2 == 0 { 0 } else { i32::from_le_bytes(input.number()) };
    let tags = if choice & 4 == 0 { Vec::new() } else { vec![tag(choice >> 4)] };
    Version { key, made: Moment { time_ns, utc_offset_s }, tags }
}

fn tag(n: u8) -> String {
    ["", "a", "b", "c"][usize::from(n % 4)].to_owned()
}
