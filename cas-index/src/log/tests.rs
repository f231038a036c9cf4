//! What a log promises under cuts and flips.
