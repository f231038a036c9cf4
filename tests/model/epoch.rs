//! Epochs that stay small: the protocol only asks which of two epochs is older, so a state in which the epochs that
//! occur are renumbered 0, 1, 2 … behaves like the original. This makes the models finite without bounding time.

/// A point in the index's history: the number of commands applied. Only order and equality mean anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u8);

impl Epoch {
    /// One more command was applied.
    pub fn advance(&mut self) -> Epoch {
        self.0 += 1;
        *self
    }
}

/// A value that has epochs in it; implemented with [`epochs!`](crate::epochs).
pub trait Epochs {
    /// Visits every epoch in the value.
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch));
}

impl Epochs for Epoch {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        visit(self);
    }
}

impl<T: Epochs> Epochs for Option<T> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        self.iter_mut().for_each(|value| value.each(visit));
    }
}

impl<T: Epochs, const N: usize> Epochs for [T; N] {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        self.iter_mut().for_each(|value| value.each(visit));
    }
}

/// Says which fields of a struct have epochs in them.
#[macro_export]
macro_rules! epochs {
    ($name:ident { $($field:ident),* }) => {
        impl $crate::epoch::Epochs for $name {
            fn each(&mut self, visit: &mut dyn FnMut(&mut $crate::epoch::Epoch)) {
                $($crate::epoch::Epochs::each(&mut self.$field, visit);)*
            }
        }
    };
}

/// Renumbers the epochs of a state, keeping their order.
pub fn renumber(state: &mut impl Epochs) {
    let mut present = 0u64;
    state.each(&mut |epoch| present |= 1 << epoch.0);
    state.each(&mut |epoch| epoch.0 = (present & ((1 << epoch.0) - 1)).count_ones() as u8);
}

/// Messages under way that all say the same kind of thing about the same thing: a small set of epochs. A full set only
/// bounds what is explored: the sender waits until one arrives for the last time or is lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Messages<const N: usize>([Option<Epoch>; N]);

impl<const N: usize> Default for Messages<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

impl<const N: usize> Messages<N> {
    /// Sends one; `None` if there is no room or it is under way already.
    pub fn send(&mut self, epoch: Epoch) -> Option<()> {
        if self.0.contains(&Some(epoch)) {
            return None;
        }
        *self.0.iter_mut().find(|slot| slot.is_none())? = Some(epoch);
        self.0.sort_unstable();
        Some(())
    }

    /// What the `i`-th says; it stays under way, for it may arrive again.
    pub fn read(&self, i: usize) -> Option<Epoch> {
        self.0[i]
    }

    /// The `i`-th never arrives again.
    pub fn lose(&mut self, i: usize) -> Option<()> {
        self.0[i].take()?;
        self.0.sort_unstable();
        Some(())
    }
}

impl<const N: usize> Epochs for Messages<N> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        self.0.each(visit);
    }
}
