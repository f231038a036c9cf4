//! The rules of DESIGN §7.1 as a value. Each can be switched off, to show what it is there for.

/// One field per rule; `true` is the protocol, unless the field says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A copy without a row is deleted only up to the start of the oldest live session, never up to "now".
    pub sweep_stops_at_the_oldest_session: bool,
    /// A grant carries the epoch of the answer that said "absent", not the start of the session.
    pub grant_carries_the_epoch_of_its_answer: bool,
    /// A node deletes only what was last put or touched before the delete's epoch.
    pub node_compares_put_epoch: bool,
    /// A row is condemned only if its count fell to zero before every live session started.
    pub gc_waits_for_sessions: bool,
    /// An expired session can neither register nor commit.
    pub expired_sessions_are_refused: bool,
    /// `have` touches a row with count zero before it says "present".
    pub have_touches: bool,
    /// `have` also touches a live row with count zero that it calls absent because it is damaged or short of copies.
    pub have_touches_damaged_rows: bool,
    /// `register` and `commit` look at the rows again: what was present must still be live.
    pub commit_looks_again: bool,
    /// A receipt brings a condemned row back only if its grant is not older than the condemnation.
    pub receipt_is_compared_with_the_condemnation: bool,
    /// A receipt counts only in a session that started before its grant.
    pub receipt_belongs_to_the_session: bool,
    /// An answer to a delete removes the row only if it is still condemned, and at that delete's epoch.
    pub row_goes_at_its_own_condemnation: bool,
    /// The index remembers the newest condemnation of which a row has gone; a receipt of a block without a row counts
    /// only if its grant is not older. Not in `ALL`: another way than touching damaged rows, see `one_block`.
    pub receipt_is_compared_with_the_last_row_that_went: bool,
    /// `have` says "present" only after what it looked at, and its touch, are synced.
    pub presence_leaves_after_sync: bool,
    /// Deletes and grants leave the index only after the commands they rest on are synced.
    pub epochs_leave_after_sync: bool,
    /// A touched put_epoch is durable on the node before its receipt.
    pub touches_are_durable: bool,
    /// A page's children lose their count in the command that condemns the page, not later by a cursor.
    pub children_lose_their_count_at_once: bool,
    /// A page that was condemned and comes back counts again on its children.
    pub returning_page_counts_again: bool,
    /// Rows with count zero get heal rows like all others, until they are condemned.
    pub rows_at_zero_are_healed: bool,
    /// A healed copy, or one in a receipt, counts only if its grant was given after the copy was found missing.
    pub copies_count_from_their_grant: bool,
    /// A row that comes back from condemnation has fresh heal rows for the nodes without a receipt.
    pub returning_row_renews_its_heal_rows: bool,
    /// A receipt counts only if its grant was given after the node became (again) a member with this disk.
    pub receipt_ends_with_the_membership: bool,
    /// Before a partition is counted from a list, the node writes a FLOOR: older deletes are void.
    pub floor_before_counting: bool,
    /// A list counts a copy only if it was found missing before the list's FLOOR.
    pub list_counts_up_to_its_floor: bool,
    /// A receipt of other bytes than the row's makes a heal row: it does not count as a copy.
    pub other_sums_become_heal_rows: bool,
    /// When receipts disagree about the sum, the next grant lets the client write its bytes beside the others.
    pub disagreeing_sums_are_replaced: bool,
    /// A snapshot in the trash still counts.
    pub trash_counts: bool,
    /// A commit that is repeated because its answer was lost commits nothing more.
    pub commit_is_idempotent: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        sweep_stops_at_the_oldest_session: true,
        grant_carries_the_epoch_of_its_answer: true,
        node_compares_put_epoch: true,
        gc_waits_for_sessions: true,
        expired_sessions_are_refused: true,
        have_touches: true,
        have_touches_damaged_rows: true,
        commit_looks_again: true,
        receipt_is_compared_with_the_condemnation: true,
        receipt_belongs_to_the_session: true,
        row_goes_at_its_own_condemnation: true,
        receipt_is_compared_with_the_last_row_that_went: false,
        presence_leaves_after_sync: true,
        epochs_leave_after_sync: true,
        touches_are_durable: true,
        children_lose_their_count_at_once: true,
        returning_page_counts_again: true,
        rows_at_zero_are_healed: true,
        copies_count_from_their_grant: true,
        returning_row_renews_its_heal_rows: true,
        receipt_ends_with_the_membership: true,
        floor_before_counting: true,
        list_counts_up_to_its_floor: true,
        other_sums_become_heal_rows: true,
        disagreeing_sums_are_replaced: true,
        trash_counts: true,
        commit_is_idempotent: true,
    };
}

/// All rules but the named ones.
#[macro_export]
macro_rules! without {
    ($($rule:ident),+) => { $crate::rules::Rules { $($rule: false,)+ ..$crate::rules::Rules::ALL } };
}
