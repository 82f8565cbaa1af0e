//! The key files of a repository: each is judged by itself, so that a damaged one beside a good one is a finding and
//! nothing more. A key file is named after its SHA-256, which tells damage from a wrong password.

use backproof_api::{Cause, report::Finding};

use super::{
    Id,
    blob::unseal,
    crypto::Key,
    format::{KeyFile, MasterKey},
};
use crate::{
    restore::Findings,
    store::{File, Folder, Listed, Store, StoreError},
};

/// The key that was opened, and with which of the passwords.
pub(super) struct Opened {
    pub(super) key: Key,
    pub(super) password: Vec<u8>,
}

/// Opens the repository's key with one of `passwords`. A damaged key file counts only if it opens `sealed_config`: it may
/// be another repository's.
pub(super) fn open(
    store: &Store,
    listed: &[Listed],
    passwords: &[Vec<u8>],
    sealed_config: &[u8],
    findings: &Findings,
) -> Result<Opened, Finding> {
    let mut opened = None;
    // What keeps an intact key from being tried says nothing of the others.
    let mut strange = None;
    let mut intact = 0;
    let mut damaged = Vec::new();
    for listed in listed {
        let file = File::Named(Folder::Keys, listed.id);
        let bytes = match store.get(file) {
            Ok(bytes) => bytes,
            // Removed since it was listed: as if it had never been there.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.finding()),
        };
        match judge(&bytes, listed.id) {
            Ok(key_file) => {
                intact += 1;
                if opened.is_none() {
                    match try_passwords(&key_file, passwords) {
                        Ok(found) => opened = found,
                        Err(finding) => strange = Some(finding),
                    }
                }
            }
            Err(fault) => damaged.push((file.path(), fault, bytes)),
        }
    }
    // The damage may spare what matters; a key that opens is a key.
    for (_, _, bytes) in &damaged {
        if opened.is_none()
            && let Ok(key_file) = serde_json::from_slice(bytes)
        {
            let found = try_passwords(&key_file, passwords).ok().flatten();
            opened = found.filter(|opened| unseal(&opened.key, sealed_config.to_vec()).is_ok());
        }
    }
    if intact == 0 && damaged.is_empty() {
        let detail = format!("the storage lists {} key files, and says that none of them is there", listed.len());
        return Err(Finding { kind: Cause::StorageUnreachable, path: "keys".to_owned(), detail });
    }
    let all_damaged = intact == 0 && opened.is_none();
    let kind = if all_damaged { Cause::KeysDamaged } else { Cause::KeyDamaged };
    for (path, fault, _) in &damaged {
        findings.add(kind, path, fault);
    }
    opened.ok_or_else(|| {
        let of = damaged.len();
        if all_damaged {
            return Finding { kind, path: "keys".to_owned(), detail: format!("all {of} key files are damaged; without one nobody can open the repository") };
        }
        if let Some(strange) = strange {
            return strange;
        }
        let detail = format!(
            "the password opens none of the {intact} intact key files; put the repository's password into RESTIC_PASSWORD of the Secret that the Repository's encryptionSecret names"
        );
        Finding { kind: Cause::EncryptionKeyRejected, path: "keys".to_owned(), detail }
    })
}

fn judge(bytes: &[u8], name: Id) -> Result<KeyFile, String> {
    if Id::of(bytes) != name {
        return Err(format!("its SHA-256 is not its name ({} bytes)", bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("it cannot be parsed: {error}"))
}

fn try_passwords(file: &KeyFile, passwords: &[Vec<u8>]) -> Result<Option<Opened>, Finding> {
    for password in passwords {
        let derived = Key::derive(password, file).map_err(|error| Finding {
            kind: Cause::UnsupportedRepository,
            path: "keys".to_owned(),
            detail: error.to_string(),
        })?;
        let mut sealed = file.data.clone();
        let master = derived.open(&mut sealed).and_then(|plain| serde_json::from_slice::<MasterKey>(plain).ok());
        if let Some(key) = master.as_ref().and_then(Key::from_master) {
            return Ok(Some(Opened { key, password: password.clone() }));
        }
    }
    Ok(None)
}
