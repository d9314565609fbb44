//! Files in words.

use kindling_format::schema::{File, FileKind};

/// What a file is, short: its path, or its kind with what tells it from others of that kind.
pub fn label(file: &File) -> String {
    match file.kind {
        FileKind::Tcp | FileKind::Udp => socket(file),
        FileKind::Pipe | FileKind::Unix => match (&file.path, file.inode) {
            (Some(path), _) if !path.is_empty() => format!("{} {path}", file.kind),
            (_, Some(inode)) => format!("{} {inode}", file.kind),
            _ => file.kind.to_string(),
        },
        kind => match &file.path {
            Some(path) if path.starts_with('/') => path.clone(),
            Some(path) if !path.is_empty() && kind == FileKind::Anon => path.clone(),
            _ => kind.to_string(),
        },
    }
}

fn socket(file: &File) -> String {
    let end = |address: &Option<String>, port: Option<u16>| match (address, port) {
        (Some(address), Some(port)) if address.contains(':') => Some(format!("[{address}]:{port}")),
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
        _ => None,
    };
    let local = end(&file.local_address, file.local_port);
    let remote = end(&file.remote_address, file.remote_port);
    match (local, remote) {
        (Some(local), Some(remote)) => format!("{} {local}->{remote}", file.kind),
        (Some(local), None) if file.listening => format!("{} {local} listening", file.kind),
        (Some(local), None) => format!("{} {local}", file.kind),
        (None, Some(remote)) => format!("{} ->{remote}", file.kind),
        (None, None) => file.kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let tcp = File {
            kind: FileKind::Tcp,
            local_address: Some("127.0.0.1".into()),
            local_port: Some(80),
            ..File::default()
        };
        let connected = File {
            remote_address: Some("::1".into()),
            remote_port: Some(5000),
            ..tcp.clone()
        };
        let listening = File {
            listening: true,
            ..tcp.clone()
        };
        let pipe = File {
            kind: FileKind::Pipe,
            inode: Some(7),
            ..File::default()
        };
        let path = File {
            kind: FileKind::Regular,
            path: Some("/etc/passwd".into()),
            ..File::default()
        };
        let cases = [
            (tcp, "tcp 127.0.0.1:80"),
            (connected, "tcp 127.0.0.1:80->[::1]:5000"),
            (listening, "tcp 127.0.0.1:80 listening"),
            (pipe, "pipe 7"),
            (path, "/etc/passwd"),
            (
                File {
                    kind: FileKind::Epoll,
                    ..File::default()
                },
                "epoll",
            ),
        ];
        for (file, expect) in cases {
            assert_eq!(label(&file), expect);
        }
    }
}
