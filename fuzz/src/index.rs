//! The index: its log, its commands, its rows, and the state machine under any commands. FORMAT §9.

use super::forge::{self, Forged};
use super::input::Input;
use cas_core::id::{BlockId, Epoch, Kind, Sum};
use cas_core::kdf;
use cas_index::command::{Command, Cover, NewPage, ObjectCover, Packed, Register};
use cas_index::log::{self, HEADER_LEN, Parsed};
use cas_index::recount::recount;
use cas_index::state::blocks::Row;
use cas_index::state::{Answer, Condemnation, Meta, Outcome, Stamp, apply};
use cas_index::tables::{MemTables, Table, Tables};

const FIRST: Epoch = Epoch(7);
const MAX_COMMANDS: usize = 300;
const NODE: [u8; 32] = [2; 32];

/// The first byte says what the rest is: a log file, or the groups that are put into one, with right checksums.
pub fn log(input: &[u8]) -> bool {
    let mut input = Input(input);
    let forge = input.byte() == 1;
    let bytes = if forge { forged_log(input) } else { input.0.to_vec() };
    let parsed = log::parse(&bytes, FIRST);
    assert_eq!(parsed, log::parse(&bytes, FIRST));
    assert_eq!(parsed.fault.is_none(), parsed.valid_len == bytes.len() as u64 && parsed.valid_len > 0);
    if parsed.valid_len > 0 {
        assert_eq!(written_again(&parsed), bytes[..parsed.valid_len as usize]);
    }
    let records: Vec<_> = parsed.groups.iter().flat_map(|group| &group.records).collect();
    assert!(records.iter().zip(FIRST.0..).all(|(record, epoch)| record.epoch.0 == epoch));
    assert_eq!(parsed.next.0, FIRST.0 + records.len() as u64);
    parsed.fault.is_none()
}

fn written_again(parsed: &Parsed) -> Vec<u8> {
    let mut out = log_header();
    let mut first = FIRST;
    for group in &parsed.groups {
        assert_eq!(group.at, out.len() as u64);
        let records: Vec<_> = group.records.iter().map(|record| (record.time_ns, &record.command[..])).collect();
        put_group(&mut out, first, group.durable, &records);
        first.0 += records.len() as u64;
    }
    assert!(out.len() >= HEADER_LEN);
    out
}

fn forged_log(mut input: Input<'_>) -> Vec<u8> {
    let mut out = log_header();
    let mut first = FIRST;
    while !input.0.is_empty() {
        let choice = input.byte();
        if choice & 0xf0 == 0xf0 {
            out.extend_from_slice(input.blob().unwrap_or_default());
            continue;
        }
        let records: Vec<_> = (0..choice & 3).map(|_| (choice.into(), input.blob().unwrap_or_default())).collect();
        put_group(&mut out, first, Epoch(input.byte().into()), &records);
        first.0 += records.len() as u64;
    }
    out
}

/// The header of a log file whose first record has the epoch of this target.
pub fn log_header() -> Vec<u8> {
    let mut out = b"CASL\x01\0\0\0".to_vec();
    out.extend_from_slice(&FIRST.0.to_le_bytes());
    out.extend_from_slice(&kdf::hash(&out)[..16]);
    out
}

/// Appends a group as FORMAT §9 has it.
pub fn put_group(out: &mut Vec<u8>, first: Epoch, durable: Epoch, records: &[(i64, &[u8])]) {
    let mut payload = Vec::new();
    for (time_ns, command) in records {
        payload.extend_from_slice(&(command.len() as u32).to_le_bytes());
        payload.extend_from_slice(&time_ns.to_le_bytes());
        payload.extend_from_slice(command);
    }
    let mut fields = b"CASG".to_vec();
    fields.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    fields.extend_from_slice(&first.0.to_le_bytes());
    fields.extend_from_slice(&durable.0.to_le_bytes());
    fields.extend_from_slice(&(records.len() as u32).to_le_bytes());
    fields.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&fields);
    out.extend_from_slice(&kdf::hash(&[&fields[..], &payload].concat())[..16]);
    out.extend_from_slice(&payload);
}

/// A command that decodes is the same after it was written and read again.
pub fn command(input: &[u8]) -> bool {
    let Ok(command) = Command::decode(input) else { return false };
    let bytes = command.encode();
    assert!(bytes.len() <= input.len(), "it is written in the shortest form");
    assert_eq!(Command::decode(&bytes).ok().as_ref(), Some(&command));
    true
}

/// A row that decodes is written the same again.
pub fn index_row(input: &[u8]) -> bool {
    let Ok(row) = Row::decode(input) else { return false };
    assert_eq!(row.encode(), input);
    true
}

/// An entry of the audit log that decodes is written the same again.
pub fn audit_entry(input: &[u8]) -> bool {
    let Ok(entry) = cas_net::rights::audit::Entry::decode(input) else { return false };
    assert_eq!(entry.encode(), input);
    true
}

/// Commands of any kind in any order, also such as no client sends. The tables never break, a refused command changes
/// nothing, and the counts are those of a recount.
pub fn commands(input: &[u8]) -> bool {
    let mut world = World::new();
    let mut input = Input(input);
    let mut accepted = 0;
    for _ in 0..MAX_COMMANDS {
        if input.0.is_empty() {
            break;
        }
        let Some(command) = world.choose(&mut input) else { continue };
        accepted += usize::from(world.apply(&command).is_ok());
    }
    world.check();
    accepted > 1
}

struct World {
    tables: MemTables,
    now: Stamp,
    /// Objects that were made for versions, each with its number.
    versions: Vec<Forged>,
    condemned: Condemnation,
}

impl World {
    fn new() -> Self {
        let now = Stamp { epoch: Epoch(0), time_ns: 0 };
        let mut world =
            Self { tables: MemTables::default(), now, versions: Vec::new(), condemned: Condemnation::default() };
        world.apply(&Command::AddNode { node: NODE }).expect("a node can be added");
        world
    }

    fn apply(&mut self, command: &Command) -> Answer {
        self.now = Stamp { epoch: self.now.epoch.next(), time_ns: self.now.time_ns + 1 };
        let before = self.tables.clone();
        let answer = apply(&mut self.tables, self.now, command).expect("the tables are whole");
        match &answer {
            Err(_) => assert_eq!(rows(&before), rows(&self.tables), "a refused command changes nothing"),
            Ok(Outcome::Condemned(condemned)) => self.condemned = condemned.clone(),
            Ok(_) => {}
        }
        answer
    }

    fn check(&self) {
        let count = recount(&self.tables).expect("the tables are whole");
        assert!(count.wrong.is_empty() && count.dangling.is_empty(), "{count:?}");
        let meta = Meta::load(&self.tables).expect("the tables are whole");
        assert_eq!(meta.live + meta.bad + meta.condemned, count.rows);
    }

    fn choose(&mut self, input: &mut Input<'_>) -> Option<Command> {
        Some(match input.byte() % 18 {
            0 => return Command::decode(input.blob()?).ok(),
            1 | 2 => Command::StartSession { vault: [1; 16], domain: [1; 16], device: [3; 32], label: String::new() },
            3 => Command::EndSession { session: self.epoch(input) },
            4 => Command::EndSessionsExcept { keep: vec![self.epoch(input)] },
            5 => Command::Touch { session: self.epoch(input), ids: ids(input) },
            6..=8 => Command::Register(self.register(input)),
            9 => self.commit(input),
            10 => self.forget(input)?,
            11 => self.bring_back(input)?,
            12 => Command::EmptyTrash { before_ns: i64::from(input.byte()) * 4, limit: input.byte().into() },
            13 | 14 => Command::Condemn { limit: input.byte().into() },
            15 => self.deleted(input),
            16 => Command::Mark { ids: ids(input), bad: input.byte() & 1 == 0 },
            _ => self.rare(input),
        })
    }

    /// One of the last epochs.
    fn epoch(&self, input: &mut Input<'_>) -> u64 {
        self.now.epoch.0.saturating_sub(input.byte().into())
    }

    fn register(&self, input: &mut Input<'_>) -> Register {
        let session = self.epoch(input);
        let ids = ids(input);
        let covers: Vec<Cover> = (0..usize::from(input.byte()) % (ids.count() + 1))
            .map(|n| Cover { len: n as u32, grant: self.epoch(input), node: 0 })
            .collect();
        let sums = Packed(covers.iter().flat_map(|cover| [cover.len as u8; 32]).collect());
        let mut pages = Vec::new();
        for _ in 0..input.byte() % 4 {
            let kind = input.byte();
            let kind = if kind == 0xff { kind } else { Kind::Page as u8 + kind % 2 };
            let at = input.byte().into();
            pages.push(NewPage { at, kind, children: bits(input.byte()) });
        }
        Register { session, nodes: Packed(NODE.to_vec()), ids, sums, covers, pages }
    }

    fn cover(&self, input: &mut Input<'_>, object: &[u8]) -> ObjectCover {
        ObjectCover { node: NODE, grant: self.epoch(input), sum: Sum::of(object).0, len: object.len() as u32 }
    }

    fn version(&self, input: &mut Input<'_>) -> Option<&Forged> {
        let n = usize::from(input.byte()).checked_rem(self.versions.len())?;
        self.versions.get(n)
    }

    fn commit(&mut self, input: &mut Input<'_>) -> Command {
        let session = self.epoch(input);
        let root = id(input.byte());
        let previous = self.versions.last();
        let forged = forge::version(previous, root, input.byte() & 7 != 7);
        let object = forged.bytes.clone();
        self.versions.push(forged);
        let cover = self.cover(input, &object);
        Command::Commit { session, key: [input.byte() % 4; 16], object: Packed(object), covers: vec![cover] }
    }

    fn forget(&self, input: &mut Input<'_>) -> Option<Command> {
        let removal = forge::removal(self.version(input)?);
        Some(Command::Forget { covers: vec![self.cover(input, &removal)], removal: Packed(removal) })
    }

    /// As it is done now, or as older logs have it.
    fn bring_back(&self, input: &mut Input<'_>) -> Option<Command> {
        let version = self.version(input)?;
        let returning = forge::returning(version);
        Some(match input.byte() {
            255 => Command::Undelete { snapshot: version.snapshot_id },
            _ => Command::Return { covers: vec![self.cover(input, &returning)], returning: Packed(returning) },
        })
    }

    /// Answers to the deletes of the last condemnation, or to some that were never given.
    fn deleted(&self, input: &mut Input<'_>) -> Command {
        let (choice, answers) = (input.byte(), input.byte());
        let (ids, epochs) = if choice & 1 == 0 {
            let deletes = &self.condemned.deletes;
            (Packed::of_ids(deletes.iter().map(|d| &d.id)), deletes.iter().map(|d| d.epoch.0).collect())
        } else {
            let ids = ids(input);
            let epochs = (0..ids.count()).map(|_| self.epoch(input)).collect();
            (ids, epochs)
        };
        let gone = (0..ids.count()).map(|n| answers >> (n % 8) & 1 == 1).collect();
        Command::Deleted { node: NODE, ids, epochs, gone }
    }

    fn rare(&self, input: &mut Input<'_>) -> Command {
        match input.byte() % 3 {
            0 => Command::ReleaseHold,
            1 => Command::AddNode { node: [input.byte(); 32] },
            _ => {
                let object = forge::keyring(input.byte() % 4);
                Command::PutKeyring { covers: vec![self.cover(input, &object)], object: Packed(object) }
            }
        }
    }
}

/// Everything but the one row that knows the epoch.
fn rows(tables: &MemTables) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        let mut keep = |key: &[u8], value: &[u8]| {
            // Refusals are written down and counted: the log, its head (h), its counters (r).
            let is_log = table == Table::Audit || table == Table::Rights && matches!(key[0], b'h' | b'r');
            if !is_log {
                out.push((table, key.to_vec(), value.to_vec()));
            }
            Ok(true)
        };
        tables.scan(table, &[], &mut keep).expect("in memory");
    }
    out
}

fn id(n: u8) -> BlockId {
    BlockId([n % 16; 32])
}

/// Blocks by the bits of a number.
fn ids(input: &mut Input<'_>) -> Packed {
    let mask = u16::from_le_bytes(input.number());
    let ids: Vec<BlockId> = (0..16).filter(|n| mask >> n & 1 == 1).map(id).collect();
    Packed::of_ids(&ids)
}

fn bits(mask: u8) -> Vec<u32> {
    (0..8).filter(|n| mask >> n & 1 == 1).collect()
}
