//! How messages are written down: fields in order, variants with their numbers, calls with theirs.

/// `wire!(struct Name { field, … })`, `wire!(enum Name as "what" { 0 = Unit, 1 = Tuple(a), 2 = Struct { b } })`:
/// implements [`Wire`](super::Wire) for a type: fields in this order, variants by a byte.
macro_rules! wire {
    (struct $name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, _out: &mut Vec<u8>) {
                $( $crate::wire::Wire::put(&self.$field, _out); )*
            }
            fn take(_from: &mut $crate::wire::Reader<'_>) -> std::result::Result<Self, $crate::wire::WireError> {
                Ok(Self { $( $field: $crate::wire::Wire::take(_from)? ),* })
            }
        }
    };
    (newtype $name:ident) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $crate::wire::Wire::put(&self.0, out);
            }
            fn take(from: &mut $crate::wire::Reader<'_>) -> std::result::Result<Self, $crate::wire::WireError> {
                Ok(Self($crate::wire::Wire::take(from)?))
            }
        }
    };
    (enum $name:ident as $what:literal {
        $( $tag:literal = $variant:ident $( ( $($item:ident),+ ) )? $( { $($field:ident),+ } )? ),* $(,)?
    }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$variant $( ( $($item),+ ) )? $( { $($field),+ } )? => {
                        out.push($tag);
                        $( $( $crate::wire::Wire::put($item, out); )+ )?
                        $( $( $crate::wire::Wire::put($field, out); )+ )?
                    } )*
                }
            }
            fn take(from: &mut $crate::wire::Reader<'_>) -> std::result::Result<Self, $crate::wire::WireError> {
                let at = from.at();
                let tag: u8 = $crate::wire::Wire::take(from)?;
                Ok(match tag {
                    $( $tag => {
                        $( $( let $item = $crate::wire::Wire::take(from)?; )+ )?
                        $( $( let $field = $crate::wire::Wire::take(from)?; )+ )?
                        Self::$variant $( ( $($item),+ ) )? $( { $($field),+ } )?
                    } )*
                    _ => return Err($crate::wire::WireError::Tag { at, what: $what, found: tag.into() }),
                })
            }
        }
    };
}

/// The calls of a family: each a struct with its number, whether it may be sent again, and the type of its answer.
///
/// ```text
/// calls! { Family::Index;
///     /// Makes a node known.
///     1 again AddNode { node: NodeId } -> ();
///     6 once StartSession { start: StartSession } -> SessionStart;
/// }
/// ```
macro_rules! calls {
    (@again again) => { true };
    (@again once) => { false };
    ($family:expr; $(
        $(#[$doc:meta])* $number:literal $again:ident $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? } -> $answer:ty;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub struct $name { $( $(#[$field_doc])* pub $field: $type ),* }

            $crate::wire::wire!(struct $name { $($field),* });

            impl $crate::calls::Call for $name {
                const FAMILY: $crate::calls::Family = $family;
                const METHOD: u16 = $number;
                const NAME: &'static str = stringify!($name);
                const AGAIN: bool = $crate::wire::calls!(@again $again);
                type Answer = $answer;
            }
        )*

        /// All calls of the family: number and name.
        pub const METHODS: &[(u16, &str)] = &[$( ($number, stringify!($name)) ),*];

        /// Whether these bytes are the request of this number, and encode again to the same.
        /// `None`: there is no such request.
        pub fn is_request(method: u16, bytes: &[u8]) -> Option<std::result::Result<bool, $crate::wire::WireError>> {
            $crate::calls::check_request(&[$( ($number, $crate::calls::same_request::<$name> as $crate::calls::Check) ),*], method, bytes)
        }

        /// Whether these bytes are the answer to the request of this number, and encode again to the same.
        /// `None`: there is no such request.
        pub fn is_answer(method: u16, bytes: &[u8]) -> Option<std::result::Result<bool, $crate::wire::WireError>> {
            $crate::calls::check_request(&[$( ($number, $crate::calls::same_answer::<$name> as $crate::calls::Check) ),*], method, bytes)
        }
    };
}

pub(crate) use {calls, wire};
