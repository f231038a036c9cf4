//! Seeds of what index and node keep.

use super::forge;
use super::index::{log_header, put_group};
use super::input::put_blob;
use super::node::{SALT, segment_header};
use super::seeds::Seeds;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, Sum};
use cas_index::command::{Command, Cover, NewPage, ObjectCover, Packed, Register};
use cas_index::state::blocks::{Row, State};
use cas_node::{Record, What};

pub fn add(out: &mut Seeds) {
    let commands = commands();
    for command in &commands {
        out.add("command", command.name().replace(' ', "-"), command.encode());
    }
    for (name, state, count, zero) in [
        ("live", State::Live, 3, 0),
        ("unreferenced", State::Live, 0, 9),
        ("bad", State::Bad(Epoch(300)), 1, 0),
        ("condemned", State::Condemned(Epoch(301)), 0, 0),
    ] {
        let (kind, sum, zero) = (Kind::Page, Sum([7; 32]), Epoch(zero));
        out.add("index_row", name, Row { kind, state, sum, count, len: 70_000, domain: 1, device: 2, zero }.encode());
    }
    audit(out);
    scripts(out);
    log(out, &commands);
    segments(out);
}

fn audit(out: &mut Seeds) {
    use cas_net::rights::audit::Entry;
    let done =
        Entry { seq: 1, epoch: 9, time_ns: -1, deed: "forget".into(), name: "laptop".into(), ..Entry::default() };
    let vault = Some(cas_core::id::VaultId([7; 16]));
    let refused = Entry { refused: 300, user: "ada".into(), detail: "no role".into(), vault, ..done.clone() };
    out.add("audit_entry", "done", done.encode());
    out.add("audit_entry", "denied", refused.encode());
}

fn commands() -> Vec<Command> {
    let (node, session, ids) = ([2; 32], 3, Packed(vec![9; 64]));
    let cover = ObjectCover { node, grant: 4, sum: [5; 32], len: 600 };
    let object = || Packed(forge::version(None, BlockId([3; 32]), true).bytes);
    let register = Register {
        session,
        nodes: Packed(node.to_vec()),
        ids: ids.clone(),
        sums: Packed(vec![6; 32]),
        covers: vec![Cover { len: 500, grant: 4, node: 0 }],
        pages: vec![NewPage { at: 1, kind: 2, children: vec![0] }],
    };
    vec![
        Command::AddNode { node },
        Command::PutKeyring { object: Packed(forge::keyring(1)), covers: vec![cover] },
        Command::StartSession { vault: [1; 16], domain: [1; 16], device: [3; 32], label: "host".to_owned() },
        Command::EndSession { session },
        Command::EndSessionsExcept { keep: vec![session, 1 << 48] },
        Command::Touch { session, ids: ids.clone() },
        Command::Register(register),
        Command::Commit { session, key: [4; 16], object: object(), covers: vec![cover] },
        Command::Forget {
            removal: Packed(forge::removal(&forge::version(None, BlockId([3; 32]), true))),
            covers: vec![cover],
        },
        Command::Undelete { snapshot: [8; 32] },
        Command::EmptyTrash { before_ns: -1, limit: 1000 },
        Command::Condemn { limit: 1000 },
        Command::Deleted { node, ids: ids.clone(), epochs: vec![4, 5], gone: vec![true, false] },
        Command::Mark { ids, bad: true },
        Command::ReleaseHold,
        Command::Return {
            returning: Packed(forge::returning(&forge::version(None, BlockId([3; 32]), true))),
            covers: vec![cover],
        },
    ]
}

/// What the target `commands` reads, in words.
fn scripts(out: &mut Seeds) {
    let start: &[u8] = &[1];
    // Blocks 0 to 3 with receipts of now; page 3 holds the others. Then a version with root 3.
    let register: &[u8] = &[6, 0, 0x0f, 0, 4, 0, 0, 0, 0, 1, 0, 3, 7];
    let commit: &[u8] = &[9, 1, 3, 0, 0, 0];
    let forget: &[u8] = &[10, 0, 0];
    let (undelete, empty, condemn): (&[u8], &[u8], &[u8]) = (&[11, 0, 255], &[12, 255, 255], &[13, 255]);
    let (deleted, mark): (&[u8], &[u8]) = (&[15, 0, 0xff], &[16, 0x05, 0, 0]);
    let keyring: &[u8] = &[17, 2, 1, 0];
    let back_and_away = [start, register, commit, forget, undelete, forget, empty, condemn, condemn, deleted, condemn];
    out.add("commands", "pushed-and-collected", back_and_away.concat());
    // Taken back, it does not come again under the same removal.
    let taken_back = [start, register, commit, forget, &[11, 0, 0, 0], forget, condemn, deleted, condemn, deleted];
    out.add("commands", "taken-back-and-collected", taken_back.concat());
    let healed = [start, register, mark, start, &[6, 0, 0x0f, 0, 4, 0, 0, 0, 0, 0], &[9, 4, 3, 0, 0, 0]];
    out.add("commands", "damaged-and-healed", healed.concat());
    let again = [start, register, commit, start, &[9, 0, 3, 0, 0, 1], forget, &[10, 1, 0], empty, condemn, deleted];
    out.add("commands", "two-versions", again.concat());
    let mut raw = keyring.to_vec();
    for command in commands() {
        raw.push(0);
        put_blob(&mut raw, &command.encode());
    }
    out.add("commands", "raw", raw);
}

fn log(out: &mut Seeds, commands: &[Command]) {
    let records: Vec<Vec<u8>> = commands.iter().take(3).map(Command::encode).collect();
    let records: Vec<(i64, &[u8])> = records.iter().map(|command| (-5, &command[..])).collect();
    let mut file = log_header();
    put_group(&mut file, Epoch(7), Epoch(6), &records);
    put_group(&mut file, Epoch(10), Epoch(9), &records[..1]);
    put_group(&mut file, Epoch(11), Epoch(10), &[]);
    out.add("log", "file", [&[0], &file[..]].concat());
    let mut forged = vec![1];
    for (choice, records) in [(2, 2), (1, 1), (0, 0)] {
        forged.push(choice);
        (0..records).for_each(|n| put_blob(&mut forged, &[n; 5]));
        forged.push(8);
    }
    out.add("log", "forged", &forged[..]);
    forged.push(0xf0);
    put_blob(&mut forged, b"CASG and rubbish");
    out.add("log", "refused-rubbish-behind", forged);
}

fn segments(out: &mut Seeds) {
    let body = b"what a block holds";
    let block = Record {
        what: What::Block,
        kind: Some(Kind::Data),
        len: body.len() as u32,
        group: 1,
        epoch: Epoch(5),
        domain: DomainId([1; 16]),
        id: BlockId([3; 32]),
        sum: Sum::of(body),
    };
    let header = block.encode(SALT);
    out.add("segment_record", "block", &header[..]);
    let mut file = segment_header();
    file.extend_from_slice(&header);
    file.extend_from_slice(body);
    for what in [What::Touch, What::Delete, What::Floor, What::End] {
        let header = Record::note(what, BlockId([3; 32]), Epoch(6)).encode(SALT);
        out.add("segment_record", format!("{what:?}").to_lowercase(), &header[..]);
        file.extend_from_slice(&header);
    }
    out.add("segment", "file", [&[0], &file[..]].concat());
    let mut forged = vec![1];
    for (choice, bytes) in [(1, &b"first"[..]), (0x80, b"rubbish"), (7, b"second"), (2, b""), (0x41, b"cut"), (3, b"")]
    {
        forged.push(choice);
        put_blob(&mut forged, bytes);
    }
    out.add("segment", "forged", forged);
}
