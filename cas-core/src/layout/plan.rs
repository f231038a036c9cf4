//! From a table to the next one: shares, then what is kept, then free places, then balance.

use super::shares::{Claim, level, rounded, shares};
use super::{LayoutError, MAX_NODES, Node, PARTITIONS, Pool, Table};
use crate::id::PublicKey;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// A table that could be the next, and what it takes to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The table as it is.
    pub before: Option<Table>,
    /// The table as it would be.
    pub table: Table,
    /// What differs, by partition; a partition has one for each member that changes.
    pub moves: Vec<Move>,
}

/// A copy of a partition that another node is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: u16,
    /// Who holds it no more; `None` for a copy more than before.
    pub from: Option<PublicKey>,
    /// Who holds it instead; `None` for a copy less than before.
    pub to: Option<PublicKey>,
}

/// The next table after `current` for these nodes. See the module for what it promises.
///
/// # Errors
/// [`LayoutError::TooFewNodes`], [`LayoutError::TooManyNodes`], [`LayoutError::NamedTwice`].
pub fn plan(current: Option<&Table>, nodes: &[Node], pool: Pool) -> Result<Plan, LayoutError> {
    let mut work = Work::new(current, nodes, pool)?;
    work.drop_what_may_not_stay();
    work.fill();
    work.balance();
    let members: Vec<Vec<PublicKey>> =
        work.parts.iter().map(|part| part.iter().map(|node| work.keys[usize::from(*node)]).collect()).collect();
    let version = current.map_or(1, |current| current.version() + 1);
    let table = Table::new(version, pool, &members);
    let moves = (0..PARTITIONS as u16).flat_map(|partition| moves(current, &table, partition)).collect();
    Ok(Plan { before: current.cloned(), table, moves })
}

impl Plan {
    /// Whether it changes anything.
    pub fn is_empty(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.pool() == self.table.pool()) && self.moves.is_empty()
    }
}

/// Members that leave paired with members that come.
fn moves(before: Option<&Table>, after: &Table, partition: u16) -> Vec<Move> {
    let old: Vec<PublicKey> = before.map_or_else(Vec::new, |table| table.members(partition).collect());
    let new: Vec<PublicKey> = after.members(partition).collect();
    let mut leave = old.iter().filter(|node| !new.contains(node)).copied();
    let mut come = new.iter().filter(|node| !old.contains(node)).copied();
    let mut out = Vec::new();
    loop {
        match (leave.next(), come.next()) {
            (None, None) => return out,
            (from, to) => out.push(Move { partition, from, to }),
        }
    }
}

/// A plan in the making. Nodes are numbers: places in `keys`, which holds those that may hold copies, by key.
struct Work {
    keys: Vec<PublicKey>,
    seeds: Vec<u64>,
    racks: Vec<u16>,
    replicas: usize,
    /// The most copies of a partition in one rack.
    rack_most: usize,
    share: Vec<u32>,
    load: Vec<u32>,
    /// Members that may stay.
    kept: Vec<Vec<u16>>,
    /// Members so far.
    parts: Vec<Vec<u16>>,
}

impl Work {
    fn new(current: Option<&Table>, nodes: &[Node], pool: Pool) -> Result<Self, LayoutError> {
        let mut nodes: Vec<&Node> = nodes.iter().collect();
        nodes.sort_by_key(|node| node.key);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].key == pair[1].key) {
            return Err(LayoutError::NamedTwice(pair[0].key));
        }
        nodes.retain(|node| node.holds());
        let replicas = pool.replicas();
        if nodes.len() < replicas {
            return Err(LayoutError::TooFewNodes { pool, needed: replicas, found: nodes.len() });
        }
        if nodes.len() > MAX_NODES {
            return Err(LayoutError::TooManyNodes(nodes.len()));
        }
        let keys: Vec<PublicKey> = nodes.iter().map(|node| node.key).collect();
        let mut names: BTreeMap<&str, u16> = nodes.iter().map(|node| (&node.rack[..], 0)).collect();
        names.values_mut().zip(0..).for_each(|(number, n)| *number = n);
        let racks: Vec<u16> = nodes.iter().map(|node| names[node.rack.as_str()]).collect();

        let mut parts = vec![Vec::new(); PARTITIONS];
        if let Some(current) = current {
            let numbers: Vec<Option<u16>> =
                current.nodes().iter().map(|key| keys.binary_search(key).ok().map(|n| n as u16)).collect();
            for (partition, part) in parts.iter_mut().enumerate() {
                part.extend(current.numbers(partition as u16).iter().filter_map(|n| numbers[usize::from(*n)]));
            }
        }
        let mut load = vec![0; keys.len()];
        parts.iter().flatten().for_each(|node: &u16| load[usize::from(*node)] += 1);
        let rack_most = replicas.div_ceil(names.len());
        let weights: Vec<u64> = nodes.iter().map(|node| node.weight).collect();
        let share = node_shares(&weights, &racks, names.len(), &load, replicas, rack_most);
        let seeds = keys.iter().map(seed).collect();
        Ok(Self { keys, seeds, racks, replicas, rack_most, share, load, kept: parts.clone(), parts })
    }

    /// Members beyond the number of copies, or too many in one rack: those go whose nodes have most too much.
    fn drop_what_may_not_stay(&mut self) {
        for p in 0..PARTITIONS {
            loop {
                let part = &self.parts[p];
                let crowded = |node: &&u16| part.iter().filter(|other| self.rack(**other) == self.rack(**node)).count();
                let surplus = |node: &&u16| self.surplus(**node);
                let in_crowd = part.iter().filter(|node| crowded(node) > self.rack_most).max_by_key(surplus);
                let worst = match in_crowd {
                    None if part.len() > self.replicas => part.iter().max_by_key(|node| (crowded(node), surplus(node))),
                    other => other,
                };
                let Some(worst) = worst.copied() else { break };
                self.take(p, worst);
            }
        }
        self.kept = self.parts.clone();
    }

    /// Gives every free place to somebody.
    fn fill(&mut self) {
        for p in 0..PARTITIONS {
            while self.parts[p].len() < self.replicas {
                let all = 0..self.keys.len() as u16;
                let fits = all.filter(|node| self.fits(p, *node, None));
                let lack = |node: &u16| {
                    u64::from(self.share[usize::from(*node)].saturating_sub(self.load[usize::from(*node)]))
                };
                let draw = |node: &u16| u64::from(self.draw(p, *node));
                let best = fits.max_by_key(|node| (lack(node) * draw(node), -self.surplus(*node), draw(node)));
                let best = best.expect("there are at least as many nodes as copies, and racks for them");
                self.give(p, best);
            }
        }
    }

    /// Until every node has its share: straight from who has too much to who has too little, then over others.
    fn balance(&mut self) {
        let mut lacking: Vec<u16> = (0..self.keys.len() as u16).filter(|node| self.surplus(*node) < 0).collect();
        lacking.sort_by_key(|node| self.surplus(*node));
        for node in lacking {
            self.feed(node);
        }
        while let Some(path) = self.path() {
            for (p, from, to) in path.into_iter().rev() {
                self.take(p, from);
                self.give(p, to);
            }
        }
    }

    /// Moves copies to a node from those that have too many; copies that must move anyway come first.
    fn feed(&mut self, to: u16) {
        let mut order: Vec<usize> = (0..PARTITIONS).filter(|p| !self.parts[*p].contains(&to)).collect();
        order.sort_by_key(|p| std::cmp::Reverse((self.is_moving(*p), self.draw(*p, to))));
        for p in order {
            if self.surplus(to) >= 0 {
                return;
            }
            let gives = |from: &&u16| self.surplus(**from) > 0 && self.fits(p, to, Some(**from));
            let from =
                self.parts[p].iter().filter(gives).max_by_key(|from| (self.is_new(p, **from), self.surplus(**from)));
            if let Some(from) = from.copied() {
                self.take(p, from);
                self.give(p, to);
            }
        }
    }

    /// The shortest way by which one place comes from somebody with too many to somebody with too few:
    /// (partition, from, to) in order.
    fn path(&self) -> Option<Vec<(usize, u16, u16)>> {
        let mut banned: HashSet<usize> = HashSet::new();
        loop {
            let path = self.search(&banned)?;
            let mut seen = HashSet::new();
            // Two steps with one partition could be in each other's way.
            let twice: Vec<usize> = path.iter().map(|step| step.0).filter(|p| !seen.insert(*p)).collect();
            if twice.is_empty() {
                return Some(path);
            }
            banned.extend(twice);
        }
    }

    fn search(&self, banned: &HashSet<usize>) -> Option<Vec<(usize, u16, u16)>> {
        let count = self.keys.len();
        let mut holds: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (p, part) in self.parts.iter().enumerate().filter(|(p, _)| !banned.contains(p)) {
            part.iter().for_each(|node| holds[usize::from(*node)].push(p));
        }
        let mut reached: Vec<Option<(usize, u16)>> = vec![None; count];
        let starts: Vec<u16> = (0..count as u16).filter(|node| self.surplus(*node) > 0).collect();
        let mut queue: VecDeque<u16> = starts.iter().copied().collect();
        while let Some(from) = queue.pop_front() {
            let mut here = std::mem::take(&mut holds[usize::from(from)]);
            here.sort_by_key(|p| !self.is_new(*p, from));
            for p in here {
                for to in 0..count as u16 {
                    let known = reached[usize::from(to)].is_some() || self.surplus(to) > 0;
                    if known || !self.fits(p, to, Some(from)) {
                        continue;
                    }
                    reached[usize::from(to)] = Some((p, from));
                    if self.surplus(to) < 0 {
                        return Some(traced(&reached, to));
                    }
                    queue.push_back(to);
                }
            }
        }
        None
    }

    fn rack(&self, node: u16) -> u16 {
        self.racks[usize::from(node)]
    }

    fn surplus(&self, node: u16) -> i64 {
        i64::from(self.load[usize::from(node)]) - i64::from(self.share[usize::from(node)])
    }

    /// Whether a node may become a member of a partition, in the place of another if one is named.
    fn fits(&self, p: usize, node: u16, instead_of: Option<u16>) -> bool {
        let others = self.parts[p].iter().filter(|other| Some(**other) != instead_of);
        let mut in_rack = 0;
        for other in others {
            if *other == node {
                return false;
            }
            in_rack += usize::from(self.rack(*other) == self.rack(node));
        }
        in_rack < self.rack_most
    }

    /// Whether the node did not hold it before: then to move it on costs nothing.
    fn is_new(&self, p: usize, node: u16) -> bool {
        !self.kept[p].contains(&node)
    }

    fn is_moving(&self, p: usize) -> bool {
        self.parts[p].iter().any(|node| self.is_new(p, *node))
    }

    fn give(&mut self, p: usize, node: u16) {
        self.parts[p].push(node);
        self.load[usize::from(node)] += 1;
    }

    fn take(&mut self, p: usize, node: u16) {
        self.parts[p].retain(|other| *other != node);
        self.load[usize::from(node)] -= 1;
    }

    /// The number a node draws for a partition.
    fn draw(&self, p: usize, node: u16) -> u32 {
        (mix(self.seeds[usize::from(node)] ^ mix(p as u64 + 1)) >> 32) as u32
    }
}

fn traced(reached: &[Option<(usize, u16)>], end: u16) -> Vec<(usize, u16, u16)> {
    let (mut path, mut to) = (Vec::new(), end);
    while let Some((p, from)) = reached[usize::from(to)] {
        path.push((p, from, to));
        to = from;
    }
    path.reverse();
    path
}

/// What each node is to hold. A node holds a partition once, a rack `rack_most` times; a rack must hold what the others
/// cannot. All racks stand in one water, so that a node that can hold no more leaves its rest to everybody.
fn node_shares(
    weights: &[u64],
    racks: &[u16],
    count: usize,
    load: &[u32],
    replicas: usize,
    rack_most: usize,
) -> Vec<u32> {
    let whole = PARTITIONS as f64;
    let total = (PARTITIONS * replicas) as u32;
    let mut by_rack: Vec<Vec<usize>> = vec![Vec::new(); count];
    racks.iter().enumerate().for_each(|(node, rack)| by_rack[usize::from(*rack)].push(node));
    let claim = |node: usize| Claim { weight: weights[node] as f64, least: 0.0, most: whole, now: load[node] };
    let most: Vec<usize> = by_rack.iter().map(|nodes| nodes.len().min(rack_most)).collect();
    let racks: Vec<(Claim, Vec<Claim>)> = (0..count)
        .map(|rack| {
            let nodes: Vec<Claim> = by_rack[rack].iter().map(|node| claim(*node)).collect();
            let others: usize = most.iter().sum::<usize>() - most[rack];
            let least = replicas.saturating_sub(others) as f64 * whole;
            let weight = nodes.iter().map(|node| node.weight).sum();
            let now = nodes.iter().map(|node| node.now).sum();
            (Claim { weight, least, most: most[rack] as f64 * whole, now }, nodes)
        })
        .collect();
    let held = |rack: &(Claim, Vec<Claim>), level: f64| {
        let nodes: f64 = rack.1.iter().map(|node| node.at(level)).sum();
        nodes.max(rack.0.least).min(rack.0.most)
    };
    let level = level(f64::from(total), |level| racks.iter().map(|rack| held(rack, level)).sum());
    let exact: Vec<f64> = racks.iter().map(|rack| held(rack, level)).collect();
    let claims: Vec<Claim> = racks.iter().map(|rack| rack.0).collect();
    let of_racks = rounded(&exact, &claims, total);
    let mut out = vec![0; weights.len()];
    for ((rack, nodes), of_rack) in racks.iter().zip(&by_rack).zip(of_racks) {
        nodes.iter().zip(shares(&rack.1, of_rack)).for_each(|(node, share)| out[*node] = share);
    }
    out
}

fn seed(key: &PublicKey) -> u64 {
    let words = key.0.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    words.fold(0, |all, word| mix(all ^ word))
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood, 2014): every bit of the argument changes half of the result.
fn mix(word: u64) -> u64 {
    let mut word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
