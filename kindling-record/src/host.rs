//! The recorded machine, for the capture's header.

use std::fs;

use kindling_format::header::Host;

use crate::cpus::Cpus;

/// What this machine says of itself.
pub(crate) fn describe(cpus: &Cpus) -> Host {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Host {
        name: text(uname.nodename()),
        kernel: text(uname.release()),
        arch: text(uname.machine()),
        cpus: cpus.online.len() as u32,
        boot_id: boot_id.trim().to_owned(),
        os: os_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
    }
}

/// `PRETTY_NAME` of `os-release(5)`.
fn os_name(text: &str) -> String {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value
        .unwrap_or_default()
        .trim_matches(['"', '\''])
        .to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_without_quotes() {
        assert_eq!(
            super::os_name("ID=x\nPRETTY_NAME=\"Some Linux 1\"\n"),
            "Some Linux 1"
        );
    }
}
