//! Giving up what only attaching needs, before anything of the target is read.

use std::{fs, io};

use anyhow::{Context, Result};
use rustix::{
    process::{Gid, Uid},
    thread::{self, CapabilitySet, CapabilitySets},
};

/// Whom the recorder goes on as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

/// Finds a user by name.
///
/// # Errors
/// If `/etc/passwd` has none of that name.
pub(crate) fn parse_user(name: &str) -> Result<User, String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    find_user(&users, name).ok_or_else(|| format!("/etc/passwd has no user {name}"))
}

fn find_user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (found == name).then_some(User { uid, gid })
    })
}

/// Keeps of the rights of this thread, and of those that it will start, only what recording needs;
/// with a user, goes on as that one. What runs already, the command above all, keeps its own.
///
/// # Errors
/// If the kernel refuses: a recorder that was told to give up rights must not go on with them.
pub(crate) fn reduce(user: Option<User>, has_command: bool) -> Result<()> {
    if let Some(user) = user {
        become_user(user).context("cannot go on as the user that was named")?;
    }
    let held = thread::capabilities(None).context("cannot read the capabilities")?;
    let kept = held.permitted & needed(user.is_some(), has_command);
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    thread::set_capabilities(None, sets).context("cannot give up capabilities")?;
    thread::set_no_new_privs(true).context("cannot give up new privileges")
}

fn become_user(user: User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // Without this the kernel takes all capabilities away with the user.
    thread::set_keep_capabilities(true)?;
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(gid, gid, gid)?;
    thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// What is needed after attaching.
fn needed(is_user: bool, has_command: bool) -> CapabilitySet {
    // `/proc/PID/exe` and `maps` of others; programs that only their owner may read, for symbols;
    // the kernel's symbols; and before Linux 5.19 the maps of loaded programs.
    let mut kept = CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::SYSLOG
        | CapabilitySet::BPF
        // The encoder's priority follows how busy it is.
        | CapabilitySet::SYS_NICE;
    if has_command {
        kept |= CapabilitySet::KILL;
    }
    // root has no more rights than others in other people's directories without it.
    if !is_user {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        let nobody = User {
            uid: 65534,
            gid: 65533,
        };
        assert_eq!(find_user(users, "nobody"), Some(nobody));
        assert_eq!(find_user(users, "nobod"), None);
        assert_eq!(find_user("broken\n", "broken"), None);
    }
}
