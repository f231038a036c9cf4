//! Who is alive: from signs of life and the time to what follows from their absence. DESIGN §8.
//!
//! Pure: time is an argument, actions are values. Nothing of it is in the state machine: only what is decided (a node is
//! down, a node is back) becomes a command. After a restart every node has the grace of one that has just been heard.
//!
//! When many vanish at once, it is the network or the power, and they come back: then nobody is declared down, and
//! what is still healed is what is down to its last copy ([`Watch::is_suspended`]).

use cas_core::id::PublicKey;
use cas_net::cluster::Health;
use std::collections::BTreeMap;

/// When silence means what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// After so many nanoseconds of silence readers avoid a node.
    pub suspect_ns: i64,
    /// After so many its copies are made elsewhere.
    pub down_ns: i64,
    /// So many nodes that vanish together are no accident of nodes …
    pub mass_nodes: usize,
    /// … if they are more than this share of all, in percent …
    pub mass_percent: usize,
    /// … and were last heard within so many nanoseconds.
    pub mass_window_ns: i64,
}

impl Default for Settings {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self {
            suspect_ns: 10 * SECOND,
            down_ns: 600 * SECOND,
            mass_nodes: 3,
            mass_percent: 25,
            mass_window_ns: 60 * SECOND,
        }
    }
}

/// What the state machine knows of a node that is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The node.
    pub node: PublicKey,
    /// Whether it has been declared down.
    pub down: bool,
    /// Whether its silence is expected now.
    pub in_maintenance: bool,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Avoid it: it is silent.
    Suspect(PublicKey),
    /// It is heard again; nothing was declared.
    Trust(PublicKey),
    /// Declare it down.
    Down(PublicKey),
    /// Declare it back.
    Up(PublicKey),
    /// So many of so many are gone at once: heal last copies only, and tell people.
    Suspend {
        /// How many are silent.
        silent: usize,
        /// Of how many.
        of: usize,
    },
    /// Heal everything again.
    Resume,
}

/// Listens.
#[derive(Debug, Clone)]
pub struct Watch {
    settings: Settings,
    seen: BTreeMap<PublicKey, Seen>,
    suspended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    last_ns: i64,
    is_suspect: bool,
    /// Whether it was heard at all, or only has the grace of a start.
    heard: bool,
    /// Somebody said that it is really gone.
    accepted: bool,
}

impl Watch {
    /// Nobody was heard yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, seen: BTreeMap::new(), suspended: false }
    }

    /// A sign of life.
    pub fn heard(&mut self, node: PublicKey, now_ns: i64) {
        let seen =
            self.seen.entry(node).or_insert(Seen { last_ns: now_ns, is_suspect: false, heard: false, accepted: false });
        (seen.last_ns, seen.heard, seen.accepted) = (now_ns.max(seen.last_ns), true, false);
    }

    /// What has changed by now.
    pub fn tick(&mut self, now_ns: i64, nodes: &[Known]) -> Vec<Action> {
        self.seen.retain(|node, _| nodes.iter().any(|known| known.node == *node));
        for known in nodes {
            let fresh = Seen { last_ns: now_ns, is_suspect: false, heard: false, accepted: false };
            self.seen.entry(known.node).or_insert(fresh);
        }
        let mut actions = Vec::new();
        for known in nodes {
            let settings = self.settings;
            let seen = self.seen.get_mut(&known.node).expect("it was put there");
            let is_silent = now_ns.saturating_sub(seen.last_ns) >= settings.suspect_ns;
            match (seen.is_suspect, is_silent) {
                (false, true) => actions.push(Action::Suspect(known.node)),
                (true, false) if !known.down => actions.push(Action::Trust(known.node)),
                _ => {}
            }
            seen.is_suspect = is_silent;
        }
        self.suspend_or_resume(nodes, &mut actions);
        for known in nodes {
            let silent = self.is_gone(known, now_ns);
            match known.down {
                false if silent && (!self.suspended || self.seen[&known.node].accepted) => {
                    actions.push(Action::Down(known.node));
                }
                // After a restart nobody was heard, which is no sign of life.
                true if self.is_heard_since(known.node, now_ns) => actions.push(Action::Up(known.node)),
                _ => {}
            }
        }
        actions
    }

    /// Whether only last copies are healed.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// What an operator says: those that are silent now are really gone; heal.
    pub fn accept(&mut self) {
        self.seen.values_mut().filter(|seen| seen.is_suspect).for_each(|seen| seen.accepted = true);
    }

    /// What is known of a node's life.
    pub fn health(&self, known: &Known) -> Health {
        match self.seen.get(&known.node) {
            _ if known.down => Health::Down,
            Some(seen) if !seen.is_suspect => Health::Up,
            _ => Health::Suspect,
        }
    }

    /// For how long a node has been silent, in nanoseconds.
    pub fn silent_ns(&self, node: &PublicKey, now_ns: i64) -> Option<i64> {
        self.seen.get(node).map(|seen| now_ns.saturating_sub(seen.last_ns).max(0))
    }

    /// Whether it has been silent for so long that its copies should be made elsewhere, declared or not.
    pub fn is_gone(&self, known: &Known, now_ns: i64) -> bool {
        let silent = self.silent_ns(&known.node, now_ns).unwrap_or(0);
        known.down || (!known.in_maintenance && silent >= self.settings.down_ns)
    }

    fn is_heard_since(&self, node: PublicKey, now_ns: i64) -> bool {
        self.seen
            .get(&node)
            .is_some_and(|seen| seen.heard && now_ns.saturating_sub(seen.last_ns) < self.settings.suspect_ns)
    }

    /// Silent ones that were last heard within one window, unless that is expected or accepted.
    fn suspend_or_resume(&mut self, nodes: &[Known], actions: &mut Vec<Action>) {
        let watched: Vec<&Known> = nodes.iter().filter(|known| !known.in_maintenance && !known.down).collect();
        let silent =
            watched.iter().map(|known| self.seen[&known.node]).filter(|seen| seen.is_suspect && !seen.accepted);
        let mut last: Vec<i64> = silent.map(|seen| seen.last_ns).collect();
        last.sort_unstable();
        let window = self.settings.mass_window_ns;
        let together = (0..last.len()).map(|i| last[i..].partition_point(|at| *at <= last[i].saturating_add(window)));
        let most = together.max().unwrap_or(0);
        let many = most >= self.settings.mass_nodes && most * 100 > watched.len() * self.settings.mass_percent;
        match (self.suspended, many) {
            (false, true) => actions.push(Action::Suspend { silent: most, of: watched.len() }),
            (true, false) => actions.push(Action::Resume),
            _ => {}
        }
        self.suspended = many;
    }
}

#[cfg(test)]
mod tests;
