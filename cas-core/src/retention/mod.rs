//! Retention: which versions of a history a policy keeps, and why. A plan, not a deed.
//!
//! Promise: with restic's meaning of every rule. A policy that says nothing keeps everything, and the newest version
//! stays whatever the policy says, unless [`KeepPolicy::allow_remove_all`] was set: a mistake in a policy,
//! or a clock that was wrong, never costs a history its last state. The plan is a value: a dry run prints it.
//! Not here: grouping (give one history at a time), retention locks (the index refuses), the trash.

mod calendar;
mod span;
mod text;

pub use calendar::Moment;
pub use span::{Span, SpanError};
pub use text::{MAX_POLICY_TEXT, PolicyError};

use std::fmt;
use std::str::FromStr;

/// How many versions of a kind to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Count {
    /// The rule is not there.
    #[default]
    Off,
    /// That many; 0 is like [`Count::Off`].
    UpTo(u32),
    /// All of them.
    Unlimited,
}

impl Count {
    fn is_left(self) -> bool {
        !matches!(self, Self::Off | Self::UpTo(0))
    }

    fn use_one(&mut self) {
        if let Self::UpTo(left) = self {
            *left -= 1;
        }
    }
}

/// Text that is not a count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number nor \"unlimited\"")]
pub struct CountError(pub String);

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        text.parse().map(Self::UpTo).map_err(|_| CountError(text.chars().take(100).collect()))
    }
}

/// What to keep. A version is kept if any rule keeps it. The default says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeepPolicy {
    /// The newest ones.
    pub last: Count,
    /// The newest of each hour, for the newest hours that have any.
    pub hourly: Count,
    /// The newest of each day, for the newest days that have any.
    pub daily: Count,
    /// The newest of each week (from Monday), for the newest weeks that have any.
    pub weekly: Count,
    /// The newest of each month, for the newest months that have any.
    pub monthly: Count,
    /// The newest of each year, for the newest years that have any.
    pub yearly: Count,
    /// Everything made less than this before the newest.
    pub within: Span,
    /// The newest of each hour made less than this before the newest.
    pub within_hourly: Span,
    /// The newest of each day made less than this before the newest.
    pub within_daily: Span,
    /// The newest of each week made less than this before the newest.
    pub within_weekly: Span,
    /// The newest of each month made less than this before the newest.
    pub within_monthly: Span,
    /// The newest of each year made less than this before the newest.
    pub within_yearly: Span,
    /// Those that have all tags of any of these lists; an empty tag stands for "has no tags".
    pub tags: Vec<Vec<String>>,
    /// Lets the other rules remove even the newest version.
    pub allow_remove_all: bool,
}

/// The periods that rules count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// Every version is its own.
    Last,
    /// Local hours.
    Hourly,
    /// Local days.
    Daily,
    /// Local weeks from Monday.
    Weekly,
    /// Local months.
    Monthly,
    /// Local years.
    Yearly,
}

/// A version, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version<K> {
    /// What the plan calls it.
    pub key: K,
    /// When and where it was made.
    pub made: Moment,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Why a version is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The policy says nothing.
    NoPolicy,
    /// It is the newest, and no rule keeps it.
    Newest,
    /// It has these tags.
    Tags(Vec<String>),
    /// It was made within this span before the newest.
    Within(Span),
    /// It stands for its period.
    Period {
        /// Which.
        period: Period,
        /// The span, if the rule has one.
        within: Option<Span>,
        /// It does not stand for it, but is the oldest of all, and the rule has not used up its count: so a history
        /// is as long as possible while it is young.
        oldest: bool,
    },
}

/// What to do with a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stays, for these reasons: at least one.
    Keep(Vec<Reason>),
    /// Goes.
    Remove,
}

/// What to do with one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<K> {
    /// Which.
    pub key: K,
    /// What.
    pub verdict: Verdict,
}

/// What to do with each version, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<K> {
    /// One for each version that was given.
    pub decisions: Vec<Decision<K>>,
}

impl<K> Plan<K> {
    /// What goes, newest first.
    pub fn removed(&self) -> impl Iterator<Item = &K> {
        self.decisions.iter().filter(|d| d.verdict == Verdict::Remove).map(|d| &d.key)
    }

    /// What stays and why, newest first.
    pub fn kept(&self) -> impl Iterator<Item = (&K, &[Reason])> {
        self.decisions.iter().filter_map(|d| match &d.verdict {
            Verdict::Keep(reasons) => Some((&d.key, &reasons[..])),
            Verdict::Remove => None,
        })
    }
}

impl KeepPolicy {
    /// Whether it says nothing: then everything is kept.
    pub fn is_empty(&self) -> bool {
        self.counts().iter().all(|(_, count)| !count.is_left())
            && self.spans().iter().all(|(_, span)| span.is_zero())
            && self.within.is_zero()
            && self.tags.is_empty()
    }

    /// Judges the versions of one history, given in its order (by seq, oldest first). `now_ns` is the present in
    /// nanoseconds since 1970: versions from the future are not what "within" counts back from.
    pub fn plan<K>(&self, versions: Vec<Version<K>>, now_ns: i64) -> Plan<K> {
        let newest_seq = versions.len().checked_sub(1);
        let mut by_time: Vec<(usize, Version<K>)> = versions.into_iter().enumerate().collect();
        by_time.sort_by_key(|(position, version)| std::cmp::Reverse((version.made.time_ns, *position)));
        let mut rules = Rules::new(self, by_time.iter().map(|(_, v)| v.made), now_ns);
        let oldest = by_time.len().saturating_sub(1);
        let judge = |(nth, (position, version)): (usize, (usize, Version<K>))| {
            let mut reasons = rules.reasons(&version, nth, nth == oldest);
            let newest = nth == 0 || Some(position) == newest_seq;
            if reasons.is_empty() && newest && !self.allow_remove_all {
                reasons.push(Reason::Newest);
            }
            let verdict = if reasons.is_empty() { Verdict::Remove } else { Verdict::Keep(reasons) };
            Decision { key: version.key, verdict }
        };
        Plan { decisions: by_time.into_iter().enumerate().map(judge).collect() }
    }

    fn counts(&self) -> [(Period, Count); 6] {
        [
            (Period::Last, self.last),
            (Period::Hourly, self.hourly),
            (Period::Daily, self.daily),
            (Period::Weekly, self.weekly),
            (Period::Monthly, self.monthly),
            (Period::Yearly, self.yearly),
        ]
    }

    fn spans(&self) -> [(Period, Span); 5] {
        [
            (Period::Hourly, self.within_hourly),
            (Period::Daily, self.within_daily),
            (Period::Weekly, self.within_weekly),
            (Period::Monthly, self.within_monthly),
            (Period::Yearly, self.within_yearly),
        ]
    }
}

impl Period {
    /// A number that two moments share exactly if they lie in one period. `nth` numbers the versions.
    fn bucket(self, made: Moment, nth: usize) -> i64 {
        let date = || made.local_date();
        match self {
            Self::Last => nth as i64,
            Self::Hourly => made.local_hour(),
            Self::Daily => made.local_day(),
            Self::Weekly => made.local_week(),
            Self::Monthly => date().year * 12 + date().month,
            Self::Yearly => date().year,
        }
    }
}

/// A rule that keeps the newest version of each period, while it goes from new to old.
struct PeriodRule {
    period: Period,
    left: Count,
    /// Only what was made after this counts.
    within: Option<(Span, i128)>,
    last_bucket: Option<i64>,
}

impl PeriodRule {
    fn reason(&mut self, made: Moment, nth: usize, is_oldest: bool) -> Option<Reason> {
        let outside = self.within.is_some_and(|(_, after_ns)| i128::from(made.time_ns) <= after_ns);
        if outside || !self.left.is_left() {
            return None;
        }
        let bucket = self.period.bucket(made, nth);
        let repeated = self.last_bucket == Some(bucket);
        if repeated && !is_oldest {
            return None;
        }
        self.last_bucket = Some(bucket);
        self.left.use_one();
        Some(Reason::Period { period: self.period, within: self.within.map(|(span, _)| span), oldest: repeated })
    }
}

/// A policy at work on one history.
struct Rules<'a> {
    policy: &'a KeepPolicy,
    within_after_ns: Option<i128>,
    periods: Vec<PeriodRule>,
}

impl<'a> Rules<'a> {
    /// `made` are the moments of all versions, newest first.
    fn new(policy: &'a KeepPolicy, mut made: impl Iterator<Item = Moment>, now_ns: i64) -> Self {
        let latest = made.find(|m| m.time_ns < now_ns);
        // With all versions in the future there is nothing to count back from: all are within.
        let back = |s: Span| latest.map_or(i128::MIN, |m| m.earlier_ns(s.years, s.months, s.days, s.hours));
        let counted = policy.counts().into_iter().map(|(period, left)| (period, left, None));
        let spans = policy.spans().into_iter().filter(|(_, span)| !span.is_zero());
        let spanned = spans.map(|(period, span)| (period, Count::Unlimited, Some((span, back(span)))));
        let rule = |(period, left, within)| PeriodRule { period, left, within, last_bucket: None };
        Self {
            policy,
            within_after_ns: (!policy.within.is_zero()).then(|| back(policy.within)),
            periods: counted.chain(spanned).map(rule).collect(),
        }
    }

    fn reasons<K>(&mut self, version: &Version<K>, nth: usize, is_oldest: bool) -> Vec<Reason> {
        if self.policy.is_empty() {
            return vec![Reason::NoPolicy];
        }
        let has = |tag: &String| version.tags.contains(tag) || (tag.is_empty() && version.tags.is_empty());
        let matching = self.policy.tags.iter().filter(|list| list.iter().all(has));
        let mut reasons: Vec<Reason> = matching.map(|list| Reason::Tags(list.clone())).collect();
        if self.within_after_ns.is_some_and(|after_ns| i128::from(version.made.time_ns) > after_ns) {
            reasons.push(Reason::Within(self.policy.within));
        }
        reasons.extend(self.periods.iter_mut().filter_map(|rule| rule.reason(version.made, nth, is_oldest)));
        reasons
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy"),
            Self::Newest => f.write_str("newest"),
            Self::Tags(tags) => write!(f, "tags {}", tags.join(",")),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Period { period, within, oldest } => {
                f.write_str(if *oldest { "oldest " } else { "" })?;
                period.fmt(f)?;
                within.map_or(Ok(()), |span| write!(f, " within {span}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
