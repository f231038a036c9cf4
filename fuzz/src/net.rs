//! The wire: requests, answers, errors, and what stands before them. PROTOCOL §2 to §6.

use super::input::Input;
use cas_net::address::Address;
use cas_net::calls::{Family, index, node};
use cas_net::envelope::{AnswerEnvelope, RequestEnvelope, read_lens};
use cas_net::hello::{self, HEAD, Hello, Welcome};
use cas_net::limits::{MAX_BODY_BYTES, MAX_HELLO};
use cas_net::wire::{Wire, WireError, decode, encode};
use cas_net::{ServiceError, cluster, rights};

type Checked = Option<Result<bool, WireError>>;

/// Family, method, and the message of a request.
pub fn wire_request(input: &[u8]) -> bool {
    let (family, method, message) = named(input);
    holds(match Family::from_byte(family) {
        Some(Family::Index) => index::is_request(method, message),
        Some(Family::Node) => node::is_request(method, message),
        Some(Family::Cluster) => cluster::calls::is_request(method, message),
        Some(Family::Rights) => rights::calls::is_request(method, message),
        None => None,
    })
}

/// Family, method, and the message of an answer.
pub fn wire_answer(input: &[u8]) -> bool {
    let (family, method, message) = named(input);
    holds(match Family::from_byte(family) {
        Some(Family::Index) => index::is_answer(method, message),
        Some(Family::Node) => node::is_answer(method, message),
        Some(Family::Cluster) => cluster::calls::is_answer(method, message),
        Some(Family::Rights) => rights::calls::is_answer(method, message),
        None => None,
    })
}

fn named(input: &[u8]) -> (u8, u16, &[u8]) {
    let mut input = Input(input);
    (input.byte(), u16::from_le_bytes(input.number()), input.0)
}

/// What is accepted encodes again to equal bytes.
fn holds(checked: Checked) -> bool {
    match checked {
        Some(Ok(same)) => {
            assert!(same, "it encodes again to other bytes");
            true
        }
        Some(Err(_)) | None => false,
    }
}

/// An error. Encoding one that was decoded is stable: texts are made anew, unknown codes become known ones.
pub fn wire_error(input: &[u8]) -> bool {
    let Ok(error) = decode::<ServiceError>(input, 0) else { return false };
    let once = encode(&error);
    let twice = encode(&decode::<ServiceError>(&once, 0).expect("what is encoded is decoded"));
    assert_eq!(once, twice);
    true
}

/// The first byte says what the rest is: the envelope of a request, of an answer, lengths, a hello, a welcome, an address.
pub fn wire_head(input: &[u8]) -> bool {
    let mut input = Input(input);
    match input.byte() {
        0 => envelope(input.0, RequestEnvelope::read),
        1 => envelope(input.0, AnswerEnvelope::read),
        2 => lens(input.0),
        3 => greeting::<Hello>(input.0),
        4 => greeting::<Welcome>(input.0),
        _ => address(input.0),
    }
}

fn envelope<const N: usize, T: Wire, E>(bytes: &[u8], read: impl Fn(&[u8; N]) -> Result<T, E>) -> bool {
    let Ok(bytes) = <&[u8; N]>::try_from(bytes) else { return false };
    read(bytes).is_ok_and(|envelope| {
        assert_eq!(encode(&envelope), bytes);
        true
    })
}

fn lens(bytes: &[u8]) -> bool {
    read_lens(bytes).is_ok_and(|lens| {
        assert!(lens.iter().map(|len| *len as usize).sum::<usize>() <= MAX_BODY_BYTES);
        true
    })
}

fn greeting<T: Wire>(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return false };
    let Ok(len) = hello::read_head(head) else { return false };
    assert!(len <= MAX_HELLO);
    let Some(value) = rest.get(..len) else { return false };
    hello::read::<T>(value).is_ok_and(|read| {
        assert!(value.starts_with(&encode(&read)));
        true
    })
}

fn address(bytes: &[u8]) -> bool {
    let Ok(address) = String::from_utf8_lossy(bytes).parse::<Address>() else { return false };
    assert_eq!(address.to_string().parse(), Ok(address));
    true
}
