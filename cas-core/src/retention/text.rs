//! A policy as text: `keep-last=3,keep-daily=7,keep-within=1y`. So it stands in the index and on the wire.
//!
//! Promise: what [`KeepPolicy::to_text`] writes reads back as the same policy, and one policy has one text.
//! Not here: tags, which a server does not see, and leave to remove everything.

use super::{Count, KeepPolicy, Span};
use std::fmt::Write;

/// The longest text of a policy, in bytes; each rule at its longest is shorter.
pub const MAX_POLICY_TEXT: usize = 1024;

/// Text that is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a retention policy like keep-last=3,keep-daily=7,keep-within=1y")]
pub struct PolicyError(pub String);

impl KeepPolicy {
    /// Its text, in the order of the fields; nothing for a policy that says nothing. `None` if it has what no text says: tags, or
    /// leave to remove the newest version.
    pub fn to_text(&self) -> Option<String> {
        if !self.tags.is_empty() || self.allow_remove_all {
            return None;
        }
        let mut rules = self.clone();
        let mut out = String::new();
        for (name, rule) in rules.rules() {
            let said = match rule {
                Rule::Count(Count::Off | Count::UpTo(0)) => None,
                Rule::Count(Count::UpTo(count)) => Some(count.to_string()),
                Rule::Count(Count::Unlimited) => Some("unlimited".to_owned()),
                Rule::Span(span) => (!span.is_zero()).then(|| span.to_string()),
            };
            if let Some(said) = said {
                let comma = if out.is_empty() { "" } else { "," };
                write!(out, "{comma}{name}={said}").expect("a string takes all");
            }
        }
        Some(out)
    }

    /// Reads a text: rules in any order, each once.
    ///
    /// # Errors
    /// An unknown rule, one that stands twice, no count or span behind it, or a text above [`MAX_POLICY_TEXT`].
    pub fn from_text(text: &str) -> Result<Self, PolicyError> {
        let error = || PolicyError(text.chars().take(100).collect());
        let (mut policy, mut seen) = (Self::default(), Vec::new());
        if text.len() > MAX_POLICY_TEXT {
            return Err(error());
        }
        for said in text.split(',').filter(|_| !text.is_empty()) {
            let (name, value) = said.split_once('=').ok_or_else(error)?;
            if seen.contains(&name) {
                return Err(error());
            }
            seen.push(name);
            let (_, rule) = policy.rules().into_iter().find(|(known, _)| *known == name).ok_or_else(error)?;
            match rule {
                Rule::Count(count) => *count = value.parse().map_err(|_| error())?,
                Rule::Span(span) => *span = value.parse().map_err(|_| error())?,
            }
        }
        Ok(policy)
    }

    /// All rules that have a text, by name.
    fn rules(&mut self) -> [(&'static str, Rule<'_>); 12] {
        [
            ("keep-last", Rule::Count(&mut self.last)),
            ("keep-hourly", Rule::Count(&mut self.hourly)),
            ("keep-daily", Rule::Count(&mut self.daily)),
            ("keep-weekly", Rule::Count(&mut self.weekly)),
            ("keep-monthly", Rule::Count(&mut self.monthly)),
            ("keep-yearly", Rule::Count(&mut self.yearly)),
            ("keep-within", Rule::Span(&mut self.within)),
            ("keep-within-hourly", Rule::Span(&mut self.within_hourly)),
            ("keep-within-daily", Rule::Span(&mut self.within_daily)),
            ("keep-within-weekly", Rule::Span(&mut self.within_weekly)),
            ("keep-within-monthly", Rule::Span(&mut self.within_monthly)),
            ("keep-within-yearly", Rule::Span(&mut self.within_yearly)),
        ]
    }
}

/// A rule in its place.
enum Rule<'a> {
    Count(&'a mut Count),
    Span(&'a mut Span),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count() -> impl Strategy<Value = Count> {
        prop_oneof![Just(Count::Off), (1u32..).prop_map(Count::UpTo), Just(Count::Unlimited)]
    }

    fn span() -> impl Strategy<Value = Span> {
        (0u32.., 0u32..3, 0u32..3, 0u32..).prop_map(|(years, months, days, hours)| Span { years, months, days, hours })
    }

    proptest! {
        #[test]
        fn a_policy_is_its_text_and_back(
            [last, hourly, daily, weekly, monthly, yearly] in prop::array::uniform6(count()),
            [within, within_hourly, within_daily, within_weekly, within_monthly, within_yearly]
                in prop::array::uniform6(span()),
        ) {
            let tags = Vec::new();
            let policy = KeepPolicy {
                last, hourly, daily, weekly, monthly, yearly, within, within_hourly, within_daily, within_weekly,
                within_monthly, within_yearly, tags, allow_remove_all: false,
            };
            let text = policy.to_text().unwrap();
            prop_assert!(text.len() <= MAX_POLICY_TEXT);
            prop_assert_eq!(KeepPolicy::from_text(&text), Ok(policy));
        }
    }

    #[test]
    fn texts_are_short_and_in_one_order() {
        let text = "keep-within=1y2m,keep-last=3,keep-yearly=unlimited,keep-daily=0";
        let policy = KeepPolicy::from_text(text).unwrap();
        assert_eq!(policy.to_text().unwrap(), "keep-last=3,keep-yearly=unlimited,keep-within=1y2m");
        assert_eq!(KeepPolicy::default().to_text().unwrap(), "");
        assert_eq!(KeepPolicy::from_text(""), Ok(KeepPolicy::default()));
        assert_eq!(KeepPolicy { allow_remove_all: true, ..policy }.to_text(), None, "no text says that");
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let long = format!("keep-last={}", "0".repeat(MAX_POLICY_TEXT));
        let bad = ["keep-last", "keep-last=", "keep-last=-1", "last=3", "keep-last=3,", ",", "keep-within=3", &long];
        for text in bad.into_iter().chain(["keep-last=3,keep-last=3", "keep-last=4294967296", "keep-tag=a"]) {
            assert!(KeepPolicy::from_text(text).is_err(), "{text}");
        }
    }
}
