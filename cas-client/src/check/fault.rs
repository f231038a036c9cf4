//! Why a block was not found good: it is bad, or nobody gives it now, which says nothing about it.

use super::in_one_line;
use crate::error::ClientError;
use cas_net::ServiceError;

/// Why a block was not found good.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not what it should be.
    Damage(String),
    /// Nobody who has it answers, or would give it to this device.
    Unread(String),
}

impl Fault {
    pub fn of(error: ClientError) -> Self {
        match error {
            ClientError::Service(
                ServiceError::Unreachable { .. } | ServiceError::Busy(_) | ServiceError::Denied(_),
            ) => Self::Unread(error.to_string()),
            other => Self::Damage(in_one_line(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_gives_now_is_not_taken_for_damage() {
        let away = ServiceError::Unreachable { peer: "n".into(), detail: "gone".into() };
        for error in [away, ServiceError::Busy("b".into()), ServiceError::Denied("d".into())] {
            assert!(matches!(Fault::of(error.into()), Fault::Unread(_)));
        }
        let bad = ServiceError::Damaged { what: "block".into(), detail: "sum".into() };
        let lost = ServiceError::NotFound { what: "block", name: "7c".into() };
        for error in [bad, lost] {
            assert!(matches!(Fault::of(error.into()), Fault::Damage(_)));
        }
    }
}
