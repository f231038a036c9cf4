//! The lock around what a server knows: many readers, one writer.
//!
//! Promise: in debug builds, a thread that takes it while it already holds it panics. Otherwise it would wait for itself, but only
//! when a writer happens to wait between the two: that hangs a server once in a thousand runs, and no test finds it but by luck.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// See the module.
#[derive(Default)]
pub struct StateLock<T> {
    lock: RwLock<T>,
    holders: Holders,
}

impl<T> StateLock<T> {
    /// Around this.
    pub fn new(state: T) -> Self {
        Self { lock: RwLock::new(state), holders: Holders::default() }
    }

    /// For reading. Also after a thread panicked while it changed it: see [`StateLock::is_half_changed`].
    pub fn read(&self) -> Reading<'_, T> {
        let held = self.holders.enter();
        Reading { guard: self.lock.read().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// For changing.
    pub fn write(&self) -> Changing<'_, T> {
        let held = self.holders.enter();
        Changing { guard: self.lock.write().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Whether a thread panicked while it changed it.
    pub fn is_half_changed(&self) -> bool {
        self.lock.is_poisoned()
    }

    /// Panics in debug builds if this thread holds it: before waiting for somebody who may need it.
    pub fn assert_free(&self) {
        drop(self.holders.enter());
    }
}

impl<T> fmt::Debug for StateLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateLock")
    }
}

/// What is locked, for reading.
pub struct Reading<'a, T> {
    guard: RwLockReadGuard<'a, T>,
    _held: Held<'a>,
}

/// What is locked, for changing.
pub struct Changing<'a, T> {
    guard: RwLockWriteGuard<'a, T>,
    _held: Held<'a>,
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> Deref for Changing<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Changing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(not(debug_assertions))]
use unwatched::{Held, Holders};
#[cfg(debug_assertions)]
use watched::{Held, Holders};

#[cfg(debug_assertions)]
mod watched {
    use std::collections::HashSet;
    use std::sync::{Mutex, PoisonError};
    use std::thread::{self, ThreadId};

    /// The threads that hold a lock.
    #[derive(Default)]
    pub struct Holders(Mutex<HashSet<ThreadId>>);

    /// That this thread does.
    pub struct Held<'a>(&'a Holders);

    impl Holders {
        pub fn enter(&self) -> Held<'_> {
            let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(thread::current().id());
            assert!(is_first, "this thread holds the lock: it would wait for itself if somebody wanted to write");
            Held(self)
        }
    }

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&thread::current().id());
        }
    }
}

#[cfg(not(debug_assertions))]
mod unwatched {
    use std::marker::PhantomData;

    /// Nobody watches.
    #[derive(Default)]
    pub struct Holders;

    /// Nothing.
    pub struct Held<'a>(PhantomData<&'a Holders>);

    impl Holders {
        pub fn enter(&self) -> Held<'_> {
            Held(PhantomData)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_and_two_threads_at_once_are_welcome() {
        let lock = StateLock::new(1);
        *lock.write() += 1;
        let mine = lock.read();
        std::thread::scope(|scope| scope.spawn(|| assert_eq!(*lock.read(), 2)).join().unwrap());
        assert_eq!(*mine, 2);
        drop(mine);
        lock.assert_free();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "would wait for itself")]
    fn a_temporary_that_holds_it_for_a_whole_statement_is_noticed() {
        let lock = StateLock::new(None);
        let _found: u32 = lock.read().or_else(|| *lock.read()).unwrap_or_default();
    }

    #[test]
    fn a_panic_while_it_is_changed_is_known_and_it_can_be_read_on() {
        let lock = StateLock::new(1);
        let change = || {
            let _state = lock.write();
            panic!("half done");
        };
        std::thread::scope(|scope| assert!(scope.spawn(change).join().is_err()));
        assert!(lock.is_half_changed());
        assert_eq!(*lock.read(), 1);
    }
}
