//! Names of error numbers, from the kernel's generic list, which x86_64 and aarch64 share.

/// The largest negative return value that is an error.
const MAX_ERRNO: i64 = 4095;

/// The error number of a syscall's return value, if it failed.
pub fn of_return(ret: i64) -> Option<u16> {
    (-MAX_ERRNO..0)
        .contains(&ret)
        .then(|| u16::try_from(-ret).unwrap_or(0))
}

/// The error number that the kernel makes of the status of a request to a disk (`blk_status_t` in
/// `<linux/blk_types.h>`); `None` if it was done, and for the statuses from 14 on, whose numbers are not the
/// same in all versions.
pub fn of_block_status(status: u8) -> Option<u16> {
    /// From 1 on: EOPNOTSUPP, ETIMEDOUT, ENOSPC, ENOLINK, EREMOTEIO, EBADE, ENODATA, EILSEQ, ENOMEM, EIO, EREMCHG,
    /// EAGAIN, EBUSY.
    const ERRORS: [u16; 13] = [95, 110, 28, 67, 121, 52, 61, 84, 12, 5, 78, 11, 16];
    let at = usize::from(status).checked_sub(1)?;
    ERRORS.get(at).copied()
}

/// The name of an error number: `EAGAIN`; `E9999` for one without a name.
pub fn name(errno: u16) -> String {
    let restart = match errno {
        512 => "ERESTARTSYS",
        513 => "ERESTARTNOINTR",
        514 => "ERESTARTNOHAND",
        515 => "ENOIOCTLCMD",
        516 => "ERESTART_RESTARTBLOCK",
        _ => "",
    };
    let known = usize::from(errno)
        .checked_sub(1)
        .and_then(|at| NAMES.get(at))
        .copied();
    match known.unwrap_or(restart) {
        "" => format!("E{errno}"),
        name => name.to_owned(),
    }
}

/// The names from 1 on; empty where there is none.
#[rustfmt::skip]
const NAMES: [&str; 133] = [
    "EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "ENOEXEC", "EBADF", "ECHILD",
    "EAGAIN", "ENOMEM", "EACCES", "EFAULT", "ENOTBLK", "EBUSY", "EEXIST", "EXDEV", "ENODEV", "ENOTDIR",
    "EISDIR", "EINVAL", "ENFILE", "EMFILE", "ENOTTY", "ETXTBSY", "EFBIG", "ENOSPC", "ESPIPE", "EROFS",
    "EMLINK", "EPIPE", "EDOM", "ERANGE", "EDEADLK", "ENAMETOOLONG", "ENOLCK", "ENOSYS", "ENOTEMPTY", "ELOOP",
    "", "ENOMSG", "EIDRM", "ECHRNG", "EL2NSYNC", "EL3HLT", "EL3RST", "ELNRNG", "EUNATCH", "ENOCSI",
    "EL2HLT", "EBADE", "EBADR", "EXFULL", "ENOANO", "EBADRQC", "EBADSLT", "", "EBFONT", "ENOSTR",
    "ENODATA", "ETIME", "ENOSR", "ENONET", "ENOPKG", "EREMOTE", "ENOLINK", "EADV", "ESRMNT", "ECOMM",
    "EPROTO", "EMULTIHOP", "EDOTDOT", "EBADMSG", "EOVERFLOW", "ENOTUNIQ", "EBADFD", "EREMCHG", "ELIBACC", "ELIBBAD",
    "ELIBSCN", "ELIBMAX", "ELIBEXEC", "EILSEQ", "ERESTART", "ESTRPIPE", "EUSERS", "ENOTSOCK", "EDESTADDRREQ", "EMSGSIZE",
    "EPROTOTYPE", "ENOPROTOOPT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EOPNOTSUPP", "EPFNOSUPPORT", "EAFNOSUPPORT", "EADDRINUSE", "EADDRNOTAVAIL", "ENETDOWN",
    "ENETUNREACH", "ENETRESET", "ECONNABORTED", "ECONNRESET", "ENOBUFS", "EISCONN", "ENOTCONN", "ESHUTDOWN", "ETOOMANYREFS", "ETIMEDOUT",
    "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "EALREADY", "EINPROGRESS", "ESTALE", "EUCLEAN", "ENOTNAM", "ENAVAIL", "EISNAM",
    "EREMOTEIO", "EDQUOT", "ENOMEDIUM", "EMEDIUMTYPE", "ECANCELED", "ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED", "EOWNERDEAD",
    "ENOTRECOVERABLE", "ERFKILL", "EHWPOISON",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_numbers() {
        for (errno, expect) in [
            (1, "EPERM"),
            (11, "EAGAIN"),
            (38, "ENOSYS"),
            (61, "ENODATA"),
            (88, "ENOTSOCK"),
            (98, "EADDRINUSE"),
            (104, "ECONNRESET"),
            (110, "ETIMEDOUT"),
            (115, "EINPROGRESS"),
            (125, "ECANCELED"),
            (133, "EHWPOISON"),
            (512, "ERESTARTSYS"),
            (41, "E41"),
            (0, "E0"),
            (4000, "E4000"),
        ] {
            assert_eq!(name(errno), expect, "{errno}");
        }
        assert_eq!(of_return(-11), Some(11));
        assert_eq!(
            [0, 3, 10, 14, 255].map(of_block_status),
            [None, Some(28), Some(5), None, None]
        );
        assert_eq!(of_return(-4096), None);
        assert_eq!(of_return(0), None);
    }
}
