//! Whether the bytes of a put are what their name says. FORMAT §3.

use cas_core::frame::Header;
use cas_core::id::{BlockId, Sum};
use cas_core::limits::{MAX_FRAME, MAX_OBJECT};
use cas_net::{PutBlock, Result, ServiceError};

/// Refuses a block that is not what it is called, or longer than any.
pub fn verify(block: &PutBlock) -> Result<()> {
    let denied = |why: &str| Err(ServiceError::Denied(format!("block {}: {why}", block.id)));
    let limit = if block.kind.is_sealed() { MAX_FRAME } else { MAX_OBJECT };
    if block.bytes.len() > limit {
        return denied("it is longer than any block of its kind");
    }
    if Sum::of(&block.bytes) != block.sum {
        return denied("its bytes are not those of its sum");
    }
    if !block.kind.is_sealed() {
        let named = BlockId::of_object(block.kind, &block.bytes) == block.id;
        return if named { Ok(()) } else { denied("its bytes are not those of its name") };
    }
    match Header::parse(&block.bytes) {
        Ok((header, _)) if header.id() != block.id => denied("its header is that of another block"),
        Ok((header, _)) if header.kind != block.kind || header.domain != block.domain => {
            denied("its header is of another kind or domain")
        }
        Ok(_) => Ok(()),
        Err(e) => denied(&e.to_string()),
    }
}
