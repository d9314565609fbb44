//! Which files are logs: patterns of their paths, as the kernel side compares them.

/// The most bytes of a pattern; `KD_LOG_LEN` in `kindling.h`, less its end.
const LONGEST: usize = 126;
/// The most patterns; `KD_LOGS` in `kindling.h`.
pub(crate) const MOST: usize = 8;

/// A pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPattern {
    /// As it was typed.
    pub(crate) text: String,
    /// Its names from the last to the first, each ended by a zero, because the kernel side meets a
    /// path in this order. Then a slash as the end, and another if the path must end there too.
    pub(crate) reversed: Vec<u8>,
}

/// Reads a pattern.
///
/// # Errors
/// If it says nothing, or is too long for the kernel side.
pub(crate) fn parse_log(text: &str) -> Result<LogPattern, String> {
    let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err("a pattern names a file, for example '*.log'".into());
    }
    let mut reversed = Vec::new();
    for name in names.iter().rev() {
        // Stars beside each other are one.
        let mut last = 0;
        for byte in name.bytes() {
            if byte != b'*' || last != b'*' {
                reversed.push(byte);
            }
            last = byte;
        }
        reversed.push(0);
    }
    reversed.push(b'/');
    if text.starts_with('/') {
        reversed.push(b'/');
    }
    if reversed.len() > LONGEST {
        return Err(format!("a pattern has at most {LONGEST} bytes"));
    }
    Ok(LogPattern {
        text: text.to_owned(),
        reversed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_turned_as_paths_are() {
        let reversed = |text| parse_log(text).unwrap().reversed;
        assert_eq!(reversed("*.log"), b"*.log\0/");
        assert_eq!(reversed("/var/log/**/x"), b"x\0*\0log\0var\0//");
        assert!(parse_log("/").is_err());
        assert!(parse_log(&"x".repeat(200)).is_err());
    }
}
