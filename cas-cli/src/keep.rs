//! The options of a retention policy, with restic's names.

use cas_core::retention::{Count, KeepPolicy, Span};
use clap::Args;

/// Which versions of each name a policy keeps.
#[derive(Debug, Clone, Args)]
pub struct KeepOptions {
    /// Keep the newest N of each name
    #[arg(short = 'l', long, value_name = "N")]
    keep_last: Option<Count>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N")]
    keep_hourly: Option<Count>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N")]
    keep_daily: Option<Count>,
    /// The same for weeks
    #[arg(short = 'w', long, value_name = "N")]
    keep_weekly: Option<Count>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N")]
    keep_monthly: Option<Count>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N")]
    keep_yearly: Option<Count>,
    /// Keep what is newer than this before the newest, like 1y5m7d2h
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<Span>,
}

impl KeepOptions {
    /// The policy they say.
    pub fn policy(&self) -> KeepPolicy {
        KeepPolicy {
            last: self.keep_last.unwrap_or_default(),
            hourly: self.keep_hourly.unwrap_or_default(),
            daily: self.keep_daily.unwrap_or_default(),
            weekly: self.keep_weekly.unwrap_or_default(),
            monthly: self.keep_monthly.unwrap_or_default(),
            yearly: self.keep_yearly.unwrap_or_default(),
            within: self.keep_within.unwrap_or_default(),
            ..KeepPolicy::default()
        }
    }
}
