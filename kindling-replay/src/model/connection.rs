//! Connections: open files that carry bytes between processes, which of them are two ends of one
//! connection, and which end is the server's.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::{File, FileKind};

/// How long after the peer has closed a connection it may still be accepted.
const ACCEPT_SLACK_NS: i64 = 1_000_000_000;
/// Ports from here on are given to clients that ask for none.
const EPHEMERAL_PORT: u16 = 32_768;

/// The side of a connection that an open file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

impl Role {
    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

/// The connections of a capture.
#[derive(Debug, Default)]
pub struct Connections {
    peers: BTreeMap<u32, u32>,
    /// Files that have several for their peer, and all of those.
    tangled: BTreeSet<u32>,
    roles: BTreeMap<u32, Role>,
}

/// Whether a file has another end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherEnd {
    /// None that was recorded.
    None,
    /// This file, and no other has either of them for its end.
    One(u32),
    /// Several files could be it: of a socket that processes share there is one in each.
    Several,
}

impl Connections {
    /// Finds the connections among the files of a capture.
    pub fn new(files: &BTreeMap<u32, File>) -> Self {
        let mut peers = BTreeMap::new();
        for (a, b) in tcp_pairs(files).into_iter().chain(inode_pairs(files)) {
            peers.insert(a, b);
            peers.insert(b, a);
        }
        let listeners = listeners(files);
        let mut roles = BTreeMap::new();
        for file in files.values() {
            if let Some(role) = role(file, &listeners) {
                roles.insert(file.id, role);
            }
        }
        for (&id, peer) in &peers {
            if let (None, Some(role)) = (roles.get(&id), roles.get(peer)) {
                roles.insert(id, role.other());
            }
        }
        Self {
            tangled: tangled(&peers),
            peers,
            roles,
        }
    }

    /// The other end of the connection, if it was recorded.
    pub fn peer(&self, file: u32) -> Option<u32> {
        self.peers.get(&file).copied()
    }

    /// The other end of the connection, and whether it is certain that it is this one.
    pub fn other_end(&self, file: u32) -> OtherEnd {
        match self.peer(file) {
            _ if self.tangled.contains(&file) => OtherEnd::Several,
            Some(peer) => OtherEnd::One(peer),
            None => OtherEnd::None,
        }
    }

    /// Which side the file is, as far as addresses tell.
    pub fn role(&self, file: u32) -> Option<Role> {
        self.roles.get(&file).copied()
    }
}

/// The files that are not in a pair of which each is the other's peer, and nobody else's.
fn tangled(peers: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut claims: BTreeMap<u32, u32> = BTreeMap::new();
    for peer in peers.values() {
        *claims.entry(*peer).or_default() += 1;
    }
    let claimed_once = |file: &u32| claims.get(file) == Some(&1);
    let is_pair = |file: &u32, peer: &u32| {
        peers.get(peer) == Some(file) && claimed_once(file) && claimed_once(peer)
    };
    let others = peers.iter().filter(|(file, peer)| !is_pair(file, peer));
    others.flat_map(|(file, peer)| [*file, *peer]).collect()
}

/// An address as text, `127.0.0.1:80` or `[::1]:80`.
pub fn address(ip: &str, port: u16) -> String {
    let ip = plain_ip(ip);
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

/// An IPv4 address that a socket of IPv6 shows as `::ffff:1.2.3.4` is the same address.
fn plain_ip(ip: &str) -> &str {
    ip.strip_prefix("::ffff:")
        .filter(|v4| v4.contains('.'))
        .unwrap_or(ip)
}

/// Both addresses of a TCP connection, and the network namespace if the addresses mean something in
/// that one only.
pub type Tuple = (Option<u32>, String, u16, String, u16);

/// The addresses of a connected TCP socket; `None` if they are not known.
pub fn tuple(file: &File) -> Option<Tuple> {
    let local = plain_ip(file.local_address.as_deref()?).to_owned();
    let remote = plain_ip(file.remote_address.as_deref()?).to_owned();
    let remote_port = file
        .remote_port
        .filter(|&port| port != 0 && !file.listening)?;
    let loopback = local.starts_with("127.") || local == "::1";
    let netns = file.netns.filter(|_| loopback);
    Some((netns, local, file.local_port?, remote, remote_port))
}

/// The same connection seen from its other end.
pub fn mirrored((netns, local, local_port, remote, remote_port): Tuple) -> Tuple {
    (netns, remote, remote_port, local, local_port)
}

/// TCP sockets whose addresses mirror each other, in the same time: ports are used again.
fn tcp_pairs(files: &BTreeMap<u32, File>) -> Vec<(u32, u32)> {
    let mut by_tuple: BTreeMap<Tuple, Vec<&File>> = BTreeMap::new();
    for file in files.values().filter(|file| file.kind == FileKind::Tcp) {
        if let Some(tuple) = tuple(file) {
            by_tuple.entry(tuple).or_default().push(file);
        }
    }
    by_tuple
        .values_mut()
        .for_each(|group| group.sort_by_key(|file| (life(file), file.id)));
    let mut pairs = Vec::new();
    for (tuple, ends) in &by_tuple {
        let mirror = mirrored(tuple.clone());
        // Each pair of tuples once.
        if let Some(others) = by_tuple.get(&mirror).filter(|_| *tuple < mirror) {
            pairs.extend(contemporaries(ends, others));
        }
    }
    pairs
}

/// Pairs two lists, each in the order of time, by overlap.
fn contemporaries(ends: &[&File], others: &[&File]) -> Vec<(u32, u32)> {
    let (mut ends, mut others) = (ends.iter().peekable(), others.iter().peekable());
    let mut pairs = Vec::new();
    while let (Some(end), Some(other)) = (ends.peek(), others.peek()) {
        let ((start_a, end_a), (start_b, end_b)) = (life(end), life(other));
        if start_b > end_a.saturating_add(ACCEPT_SLACK_NS) {
            ends.next();
        } else if start_a > end_b.saturating_add(ACCEPT_SLACK_NS) {
            others.next();
        } else {
            pairs.push((end.id, other.id));
            ends.next();
            others.next();
        }
    }
    pairs
}

/// When a file was open, as far as that was recorded.
fn life(file: &File) -> (i64, i64) {
    (
        file.open_ts.unwrap_or(i64::MIN),
        file.close_ts.unwrap_or(i64::MAX),
    )
}

/// Both ends of pipes and of Unix sockets.
fn inode_pairs(files: &BTreeMap<u32, File>) -> Vec<(u32, u32)> {
    let mut pipes: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut sockets: BTreeMap<u64, u32> = BTreeMap::new();
    for file in files.values() {
        match (file.kind, file.inode) {
            (FileKind::Pipe, Some(inode)) => pipes.entry(inode).or_default().push(file.id),
            (FileKind::Unix, Some(inode)) => drop(sockets.insert(inode, file.id)),
            _ => {}
        }
    }
    let pipes = pipes.values().filter_map(|ends| match ends.as_slice() {
        [a, b] => Some((*a, *b)),
        _ => None,
    });
    let unix = files
        .values()
        .filter(|file| file.kind == FileKind::Unix)
        .filter_map(|file| {
            let peer = *sockets.get(&file.peer_inode.filter(|&inode| inode != 0)?)?;
            (peer != file.id).then_some((file.id, peer))
        });
    pipes.chain(unix).collect()
}

/// Ports that someone listens on, by network namespace.
fn listeners(files: &BTreeMap<u32, File>) -> BTreeSet<(Option<u32>, u16)> {
    let listening = files.values().filter(|file| file.listening);
    listening
        .filter_map(|file| Some((file.netns, file.local_port?)))
        .collect()
}

fn role(file: &File, listeners: &BTreeSet<(Option<u32>, u16)>) -> Option<Role> {
    match file.kind {
        FileKind::Tcp => {
            let (local, remote) = (file.local_port?, file.remote_port?);
            let same_host = file.local_address == file.remote_address;
            if listeners.contains(&(file.netns, local)) {
                Some(Role::Server)
            } else if same_host && listeners.contains(&(file.netns, remote)) {
                Some(Role::Client)
            } else {
                match (local < EPHEMERAL_PORT, remote < EPHEMERAL_PORT) {
                    (true, false) => Some(Role::Server),
                    (false, true) => Some(Role::Client),
                    _ => None,
                }
            }
        }
        // Only the server's end has the name that clients connect to.
        FileKind::Unix => file
            .path
            .as_ref()
            .filter(|path| !path.is_empty())
            .map(|_| Role::Server),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(id: u32, local: (&str, u16), remote: (&str, u16), life: (i64, i64)) -> File {
        File {
            id,
            kind: FileKind::Tcp,
            local_address: Some(local.0.into()),
            local_port: Some(local.1),
            remote_address: Some(remote.0.into()),
            remote_port: Some(remote.1),
            open_ts: Some(life.0),
            close_ts: Some(life.1),
            netns: Some(1),
            ..File::default()
        }
    }

    fn connections(files: Vec<File>) -> Connections {
        Connections::new(&files.into_iter().map(|file| (file.id, file)).collect())
    }

    #[test]
    fn ends_join_by_address_and_time() {
        let (a, b) = (("127.0.0.1", 40_000), ("::ffff:127.0.0.1", 80));
        let other_netns = File {
            netns: Some(2),
            ..tcp(5, a, b, (0, 9))
        };
        let found = connections(vec![
            tcp(1, a, b, (0, 10)),
            tcp(2, b, a, (3, 12)),
            // The port is used again.
            tcp(3, a, b, (5_000_000_000, 6_000_000_000)),
            tcp(4, b, a, (5_000_000_001, i64::MAX)),
            other_netns,
            tcp(6, ("10.0.0.1", 40_000), ("10.0.0.2", 80), (0, 9)),
        ]);
        let peers: Vec<_> = (1..7).map(|id| found.peer(id)).collect();
        assert_eq!(peers, [Some(2), Some(1), Some(4), Some(3), None, None]);
        assert_eq!(found.role(1), Some(Role::Client));
        assert_eq!(found.role(2), Some(Role::Server));
    }

    #[test]
    fn a_listener_tells_the_server_whatever_its_port_is() {
        let listener = File {
            listening: true,
            ..tcp(1, ("0.0.0.0", 50_000), ("0.0.0.0", 0), (0, 9))
        };
        let (a, b) = (("127.0.0.1", 40_000), ("127.0.0.1", 50_000));
        let found = connections(vec![listener, tcp(2, a, b, (1, 2)), tcp(3, b, a, (1, 2))]);
        assert_eq!(
            (found.role(2), found.role(3)),
            (Some(Role::Client), Some(Role::Server))
        );
        assert_eq!(connections(vec![tcp(2, a, b, (1, 2))]).role(2), None);
    }

    #[test]
    fn pipes_and_unix_sockets_join_by_inode() {
        let file = |id, kind, inode, peer_inode| File {
            id,
            kind,
            inode: Some(inode),
            peer_inode,
            ..File::default()
        };
        let named = File {
            path: Some("/run/s".into()),
            ..file(4, FileKind::Unix, 8, None)
        };
        let found = connections(vec![
            file(1, FileKind::Pipe, 5, None),
            file(2, FileKind::Pipe, 5, None),
            file(3, FileKind::Unix, 7, Some(8)),
            named,
            file(5, FileKind::Pipe, 6, None),
        ]);
        let peers: Vec<_> = (1..6).map(|id| found.peer(id)).collect();
        assert_eq!(peers, [Some(2), Some(1), Some(4), Some(3), None]);
        assert_eq!(found.role(3), Some(Role::Client));
    }

    #[test]
    fn addresses_are_shown_plainly() {
        assert_eq!(address("::ffff:10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(address("::1", 80), "[::1]:80");
    }
}
