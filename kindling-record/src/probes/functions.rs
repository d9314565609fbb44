//! Probes on functions of programs and libraries in user space.

use std::path::Path;

use libbpf_rs::{Link, UprobeMultiOpts, UprobeOpts};

use super::{Probes, explain, find_program};
use crate::{
    sources::Missing,
    tls_library::{self, Returns, TlsFunction},
};

/// Places in a file, each with what the program is told there.
type Places = (Vec<usize>, Vec<u64>);

impl Probes<'_> {
    /// Whether functions of a program can be probed: those of libraries are, when they are found.
    pub(super) fn try_tls(&self) -> Result<(), Missing> {
        let myself = Path::new("/proc/self/exe");
        let entry = tls_library::entry_point(myself)
            .map_err(|error| Missing::explain(&error, error.raw_os_error()))?;
        self.attach_tls(myself, Some(std::process::id()), &[entry])
            .map(drop)
    }

    /// Probes functions that take or give plaintext, in one process or in all that have the file mapped now or
    /// later, until the links are dropped.
    ///
    /// # Errors
    /// If the file cannot be probed.
    pub(crate) fn attach_tls(
        &self,
        path: &Path,
        pid: Option<u32>,
        functions: &[TlsFunction],
    ) -> Result<Vec<Link>, Missing> {
        let begin = functions.iter().map(|function| (function, function.offset));
        let by_trampoline = functions
            .iter()
            .filter(|function| function.returns == Returns::Anywhere)
            .map(|function| (function, function.offset));
        // What returns must have been entered.
        let mut links = self.attach_places("tls_return", (path, pid), by_trampoline, true)?;
        links.extend(self.attach_places("tls_enter", (path, pid), begin, false)?);
        Ok(links)
    }

    fn attach_places<'a>(
        &self,
        program: &str,
        file: (&Path, Option<u32>),
        places: impl Iterator<Item = (&'a TlsFunction, usize)>,
        retprobe: bool,
    ) -> Result<Vec<Link>, Missing> {
        let places: Places = places
            .map(|(function, place)| (place, function.does as u64))
            .unzip();
        match (places.0.is_empty(), self.has_multi_uprobes) {
            (true, _) => Ok(Vec::new()),
            (_, true) => Ok(vec![self.attach_at_once(program, file, places, retprobe)?]),
            (_, false) => self.attach_each(program, file, places, retprobe),
        }
    }

    fn attach_at_once(
        &self,
        program: &str,
        (path, pid): (&Path, Option<u32>),
        (offsets, cookies): Places,
        retprobe: bool,
    ) -> Result<Link, Missing> {
        let program = find_program(&self.skeleton, program)?;
        let options = UprobeMultiOpts {
            offsets,
            cookies,
            retprobe,
            ..Default::default()
        };
        program
            .attach_uprobe_multi_with_opts(number(pid), path, "", options)
            .map_err(explain)
    }

    /// Before Linux 6.6 a link has one place.
    fn attach_each(
        &self,
        program: &str,
        (path, pid): (&Path, Option<u32>),
        (offsets, cookies): Places,
        retprobe: bool,
    ) -> Result<Vec<Link>, Missing> {
        let program = find_program(&self.skeleton, program)?;
        let places = offsets.into_iter().zip(cookies);
        places
            .map(|(offset, cookie)| {
                let options = UprobeOpts {
                    cookie,
                    retprobe,
                    ..Default::default()
                };
                program
                    .attach_uprobe_with_opts(number(pid), path, offset, options)
                    .map_err(explain)
            })
            .collect()
    }
}

/// A process as the kernel takes it here: -1 is all of them.
fn number(pid: Option<u32>) -> i32 {
    pid.map_or(-1, |pid| pid as i32)
}
