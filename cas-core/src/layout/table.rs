//! The table of a pool: the members of each partition. FORMAT §11.

use super::{MAX_NODES, PARTITIONS, Pool};
use crate::codec::{FormatError, Reader};
use crate::id::{BlockId, PublicKey};
use std::collections::BTreeSet;

const MAGIC: &[u8; 4] = b"CASP";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 20;

/// The members of each partition, in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    version: u64,
    pool: Pool,
    /// Those that are members of some partition, ascending.
    nodes: Vec<PublicKey>,
    /// Numbers of members, ascending, [`Pool::replicas`] for each partition.
    places: Vec<u16>,
}

impl Table {
    /// The table with these members.
    ///
    /// # Panics
    /// If there are not [`PARTITIONS`] lists of as many distinct members as the pool has, of at most [`MAX_NODES`] nodes.
    pub fn new(version: u64, pool: Pool, members: &[Vec<PublicKey>]) -> Self {
        assert_eq!(members.len(), PARTITIONS, "one list of members for each partition");
        let nodes: Vec<PublicKey> = members.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert!(nodes.len() <= MAX_NODES, "a layout has at most {MAX_NODES} nodes");
        let mut places = Vec::with_capacity(PARTITIONS * pool.replicas());
        for members in members {
            let numbers: BTreeSet<u16> =
                members.iter().map(|key| nodes.binary_search(key).expect("it was collected") as u16).collect();
            assert_eq!((numbers.len(), members.len()), (pool.replicas(), pool.replicas()), "distinct members");
            places.extend(numbers);
        }
        Self { version, pool, nodes, places }
    }

    /// A table with the same member everywhere: a store on one node.
    pub fn of_one(node: PublicKey) -> Self {
        Self { version: 1, pool: Pool::R1, nodes: vec![node], places: vec![0; PARTITIONS] }
    }

    /// Which of the tables of its pool; later ones are higher.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The pool.
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// The nodes that hold something, ascending.
    pub fn nodes(&self) -> &[PublicKey] {
        &self.nodes
    }

    /// The members of a partition, ascending.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn members(&self, partition: u16) -> impl ExactSizeIterator<Item = PublicKey> + '_ {
        self.numbers(partition).iter().map(|number| self.nodes[usize::from(*number)])
    }

    /// The members of the partition of a block.
    pub fn members_of(&self, id: &BlockId) -> impl ExactSizeIterator<Item = PublicKey> + '_ {
        self.members(id.partition())
    }

    /// The members of a partition as places in [`Self::nodes`].
    pub fn numbers(&self, partition: u16) -> &[u16] {
        let replicas = self.pool.replicas();
        &self.places[usize::from(partition) * replicas..][..replicas]
    }

    /// How many copies a node holds.
    pub fn load(&self, node: &PublicKey) -> usize {
        let Ok(number) = self.nodes.binary_search(node) else { return 0 };
        self.places.iter().filter(|place| usize::from(**place) == number).count()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.nodes.len() * PublicKey::LEN + self.places.len() * 2);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.pool as u8, 0, 0]);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.nodes.len() as u32).to_le_bytes());
        self.nodes.iter().for_each(|node| out.extend_from_slice(node.as_bytes()));
        self.places.iter().for_each(|place| out.extend_from_slice(&place.to_le_bytes()));
        out
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// Bytes that no table has.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("layout table", bytes);
        r.expect(MAGIC, "CASP")?;
        r.expect(&[VERSION], "version 1")?;
        let pool = r.u8()?;
        let pool = Pool::from_byte(pool).ok_or_else(|| r.error("a known pool"))?;
        r.expect(&[0, 0], "zeros")?;
        let version = r.u64()?;
        let count = r.u32()? as usize;
        let replicas = pool.replicas();
        if count < replicas || count > MAX_NODES {
            return Err(r.error("as many nodes as the pool needs, and no more than a layout may have"));
        }
        if r.rest().len() != count * PublicKey::LEN + PARTITIONS * replicas * 2 {
            return Err(r.error("a length that fits the nodes and the partitions"));
        }
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            let key = PublicKey(r.array()?);
            if nodes.last().is_some_and(|last| *last >= key) {
                return Err(r.error("ascending keys"));
            }
            nodes.push(key);
        }
        let mut used = vec![false; count];
        let mut places = Vec::with_capacity(PARTITIONS * replicas);
        for n in 0..PARTITIONS * replicas {
            let place = u16::from_le_bytes(r.array()?);
            let ascends = n % replicas == 0 || places.last().is_some_and(|last| *last < place);
            match used.get_mut(usize::from(place)).filter(|_| ascends) {
                Some(used) => *used = true,
                None => return Err(r.error("ascending numbers of members")),
            }
            places.push(place);
        }
        r.finish()?;
        if !used.iter().all(|used| *used) {
            return Err(FormatError {
                what: "layout table",
                at: bytes.len(),
                expected: "only nodes that hold something",
            });
        }
        Ok(Self { version, pool, nodes, places })
    }
}

const _: () = assert!(MAX_NODES <= u16::MAX as usize);
