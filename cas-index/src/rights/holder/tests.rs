//! Every role × action × place, against a table that is written down here once more, by hand.

use super::*;
use crate::tables::MemTables;

const DEVICE: PublicKey = PublicKey([1; 32]);
const VAULT: VaultId = VaultId([2; 16]);
const OTHER: VaultId = VaultId([3; 16]);

fn world(role: Role, vault: VaultId, prefix: &str) -> MemTables {
    let mut tables = MemTables::default();
    User::default().store(&mut tables, "ada");
    Device { user: "ada".into(), ..Device::default() }.store(&mut tables, &DEVICE);
    let (who, roles) = (Bearer::User("ada".into()), Roles::NONE.with(role));
    RoleRow { who, vault, prefix: prefix.into(), roles }.store(&mut tables);
    tables
}

/// In the order of [`Role::ALL`]: owner, writer, pusher, reader, auditor on the vault; then auditor, admin, operator on the system.
const TABLE: [(Action, &str); 14] = [
    //                     owrpa AAO
    (Action::Keyring, "xxxx. ..."),
    (Action::Head, "xxxxx ..."),
    (Action::List, "xx.xx ..."),
    (Action::Read, "xx.x. ..."),
    (Action::Push, "xxx.. ..."),
    (Action::Forget, "xx... ..."),
    (Action::Share, "x.... .x."),
    (Action::Lock, "x.... .x."),
    (Action::SetKeyring, "x.... ..."),
    (Action::Mark, "x.... .xx"),
    (Action::AuditVault, "x...x xx."),
    (Action::People, "..... .x."),
    (Action::Operate, "..... .xx"),
    (Action::AuditAll, "..... xx."),
];

const COLUMNS: [(Role, bool); 8] = [
    (Role::Owner, false),
    (Role::Writer, false),
    (Role::Pusher, false),
    (Role::Reader, false),
    (Role::Auditor, false),
    (Role::Auditor, true),
    (Role::Admin, true),
    (Role::Operator, true),
];

/// Prefix of the role, name that is wanted, whether it lies under it.
const PLACES: [(&str, &str, bool); 12] = [
    ("", "", true),
    ("", "laptop", true),
    ("", "laptop/documents", true),
    ("laptop", "laptop", true),
    ("laptop", "laptop/documents", true),
    ("laptop", "laptop2", false),
    ("laptop", "lap", false),
    ("laptop", "", false),
    ("laptop", "other/laptop", false),
    ("laptop/documents", "laptop", false),
    ("laptop/documents", "laptop/documents", true),
    ("laptop/documents", "laptop/documents2", false),
];

#[test]
fn every_role_may_just_what_the_table_says_on_its_prefix_and_nowhere_else() {
    assert_eq!(TABLE.map(|row| row.0), Action::ALL);
    for (action, row) in TABLE {
        let cells: Vec<bool> = row.chars().filter(|c| *c != ' ').map(|c| c == 'x').collect();
        for ((role, of_system), allowed) in COLUMNS.into_iter().zip(cells) {
            for (prefix, name, under) in PLACES {
                let (vault, prefix) = if of_system { (VaultId::ZERO, "") } else { (VAULT, prefix) };
                let holder = Holder::of(&world(role, vault, prefix), &DEVICE).unwrap();
                let expected = allowed && (under || of_system);
                let say = format!("{role} of {prefix:?} (system {of_system}): {action:?} {name:?}");
                assert_eq!(holder.may(action, &VAULT, Where::Name(name)).is_ok(), expected, "{say}");
                assert_eq!(holder.may(action, &VAULT, Where::Anywhere).is_ok(), allowed, "{say} anywhere");
                assert_eq!(holder.may(action, &OTHER, Where::Name(name)).is_ok(), allowed && of_system, "{say} other");
                assert_eq!(holder.may(action, &OTHER, Where::Anywhere).is_ok(), allowed && of_system, "{say} other");
                assert_eq!(holder.may_in_system(action).is_ok(), allowed && of_system, "{say} system");
            }
        }
    }
}

#[test]
fn roles_add_up_and_do_not_mix() {
    let mut tables = world(Role::Pusher, VAULT, "laptop");
    let (who, roles) = (Bearer::User("ada".into()), Roles::NONE.with(Role::Reader));
    RoleRow { who, vault: VAULT, prefix: "shared".into(), roles }.store(&mut tables);
    let holder = Holder::of(&tables, &DEVICE).unwrap();
    let may = |action, name| holder.may(action, &VAULT, Where::Name(name)).is_ok();
    assert!(may(Action::Push, "laptop") && may(Action::Read, "shared/x"));
    assert!(!may(Action::Push, "shared") && !may(Action::Read, "laptop"));
}

#[test]
fn a_device_with_rights_of_its_own_has_none_of_its_users() {
    let mut tables = world(Role::Owner, VAULT, "");
    Device { user: "ada".into(), own_rights: true, ..Device::default() }.store(&mut tables, &DEVICE);
    assert!(may(&tables, &DEVICE, Action::Push, &VAULT, Where::Anywhere).unwrap().is_err());
    let (who, roles) = (Bearer::Device(DEVICE), Roles::NONE.with(Role::Pusher));
    RoleRow { who, vault: VAULT, prefix: "host".into(), roles }.store(&mut tables);
    assert!(may(&tables, &DEVICE, Action::Push, &VAULT, Where::Name("host/etc")).unwrap().is_ok());
    assert!(may(&tables, &DEVICE, Action::Read, &VAULT, Where::Name("host/etc")).unwrap().is_err());
}

#[test]
fn unknown_revoked_and_disabled_devices_may_nothing() {
    let tables = world(Role::Owner, VAULT, "");
    let why = |tables: &MemTables, device| Holder::of(tables, &device).unwrap().may(Action::Head, &VAULT, WHOLE);
    assert_eq!(why(&tables, PublicKey([9; 32])).unwrap_err().why, Why::Unknown);
    assert_eq!(why(&tables, PublicKey::ZERO).unwrap_err().why, Why::Unknown, "the zero key is nobody");
    let mut revoked = tables.clone();
    Device { user: "ada".into(), revoked_ns: Some(1), ..Device::default() }.store(&mut revoked, &DEVICE);
    assert_eq!(why(&revoked, DEVICE).unwrap_err().why, Why::Revoked);
    let mut disabled = tables.clone();
    User { disabled: true, ..User::default() }.store(&mut disabled, "ada");
    assert_eq!(why(&disabled, DEVICE).unwrap_err().why, Why::Disabled);
    assert!(why(&tables, DEVICE).is_ok());
}

#[test]
fn whoever_runs_the_index_may_everything() {
    for action in Action::ALL {
        assert!(Holder::console().may(action, &VAULT, Where::Name("x")).is_ok());
    }
}
