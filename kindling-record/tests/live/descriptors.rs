//! A descriptor leads to its file, whatever way it was come to.

use std::collections::BTreeMap;

use kindling_format::{
    schema::{File, FileKind, Syscall},
    syscalls,
};
use tempfile::TempDir;

use crate::support::{Program, id, needs, number};

#[test]
fn each_way_to_a_descriptor_leads_to_its_file() {
    needs!("processes", "syscalls");
    let dir = TempDir::new().unwrap();
    let directory = dir.path().to_str().unwrap();
    let recording = Program::compile("descriptors").record(&[], &[directory]);
    recording.assert_complete();
    let arch = &recording.capture.header().host.arch;
    let write = syscalls::named(arch, "write").unwrap().nr;
    let calls = recording.rows::<Syscall>();
    let mut files: BTreeMap<u32, File> = BTreeMap::new();
    for row in recording.rows::<File>() {
        files.insert(row.id, row);
    }
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    let ways = recording.truth["ways"].as_array().unwrap();
    // Two fewer where there is no IPv6.
    assert!([18, 20].contains(&ways.len()));
    for truth in ways {
        let [way, path, same] = ["way", "path", "same"].map(|key| truth[key].as_str().unwrap());
        let (pid, bytes) = (id(&truth["pid"]), number(&truth["bytes"]));
        let is_it = |row: &&Syscall| row.pid == pid && row.nr == write && row.ret == Some(bytes);
        let found: Vec<&Syscall> = calls.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{way}");
        let file = found[0]
            .file
            .unwrap_or_else(|| panic!("{way} leads to no file"));
        let row = &files[&file];
        println!("{way}: file {file}, {:?} {:?}", row.kind, row.path);
        let kind = match way {
            "pipe2" => FileKind::Pipe,
            "socketpair" | "its other end" => FileKind::Unix,
            "connect" | "accept4" => FileKind::Tcp,
            _ => FileKind::Regular,
        };
        assert_eq!(row.kind, kind, "{way}");
        if row.kind == FileKind::Tcp {
            let addresses = [&row.local_address, &row.remote_address];
            assert_eq!(
                addresses.map(|address| address.as_deref()),
                [Some("::1"); 2]
            );
            let server = match way {
                "connect" => row.remote_port,
                _ => row.local_port,
            };
            assert_eq!(server, path.parse().ok());
            continue;
        }
        assert!(
            row.path.as_deref().unwrap_or_default().ends_with(path),
            "{way}: {row:?}"
        );
        match same {
            "" => assert!(
                !first.values().any(|&other| other == file),
                "{way} is a file of its own"
            ),
            same => assert_eq!(first[same], file, "{way} leads to the file of {same}"),
        }
        first.insert(way, file);
    }
    let [one, other] = ["socketpair", "its other end"].map(|way| &files[&first[way]]);
    assert_eq!((one.peer_inode, other.peer_inode), (other.inode, one.inode));
    assert!(one.inode.is_some() && one.inode != other.inode);
}
