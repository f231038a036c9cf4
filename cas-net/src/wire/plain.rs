//! The encodings of plain values: PROTOCOL §4.

use super::{Reader, Wire, WireError};

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self::from_le_bytes(from.array()?))
            }
        }
    )*};
}

integers!(u16, u32, u64, i32, i64);

/// A list of bytes is copied as it stands, and counts as no elements.
impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(from.array::<1>()?[0])
    }

    fn put_all(list: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(list);
    }

    fn take_all(from: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
        let len = u32::take(from)? as usize;
        Ok(from.bytes(len)?.to_vec())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = from.at();
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(WireError::Tag { at, what: "yes or no", found: found.into() }),
        }
    }
}

/// Its bits: every pattern is a value, so that encoding again gives the same.
impl Wire for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_bits().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::from_bits(u64::take(from)?))
    }
}

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(())
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.array()
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = from.at();
        let len = u32::take(from)? as usize;
        let text = std::str::from_utf8(from.bytes(len)?).map_err(|_| WireError::Text { at })?;
        Ok(text.to_owned())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_len(self.len(), out);
        T::put_all(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        T::take_all(from)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((A::take(from)?, B::take(from)?, C::take(from)?))
    }
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).expect("lists of a message have fewer than 2^32 elements").put(out);
}
