//! Paths as the kernel side sends them: the names of their components, innermost first, each ended by a zero.

/// The names.
pub(crate) fn components(text: &[u8]) -> impl Iterator<Item = String> + '_ {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    text.split(|&byte| byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
}

/// The path whose components the kernel side sent, innermost first; `None` if it sent none.
pub(crate) fn absolute_path(text: &[u8]) -> Option<String> {
    let names: Vec<String> = components(text)
        .filter(|name| !name.is_empty() && name != "/")
        .collect();
    if text.is_empty() {
        return None;
    }
    Some(
        names
            .iter()
            .rev()
            .fold(String::new(), |path, name| path + "/" + name),
    )
    .map(|path| {
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_from_the_leaf() {
        assert_eq!(
            absolute_path(b"passwd\0etc\0").as_deref(),
            Some("/etc/passwd")
        );
        assert_eq!(absolute_path(b"/\0").as_deref(), Some("/"));
        assert_eq!(absolute_path(b""), None);
    }
}
