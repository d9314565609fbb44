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
        let (go, others): (Vec<_>, Vec<_>) =
            functions.iter().partition(|function| function.does.is_go());
        let entries =
            |functions: &[&TlsFunction]| places(functions, |function| vec![function.offset]);
        let by_trampoline = places(&others, |function| match function.returns {
            Returns::Anywhere => vec![function.offset],
            _ => Vec::new(),
        });
        let at_instructions = places(&go, |function| match &function.returns {
            Returns::At(places) => places.clone(),
            _ => Vec::new(),
        });
        let mut links = Vec::new();
        // What returns must have been entered.
        for (program, places, retprobe) in [
            ("tls_return", by_trampoline, true),
            ("tls_enter", entries(&others), false),
            ("go_tls_return", at_instructions, false),
            ("go_tls_enter", entries(&go), false),
        ] {
            links.extend(self.attach_places(program, (path, pid), places, retprobe)?);
        }
        Ok(links)
    }

    fn attach_places(
        &self,
        program: &str,
        file: (&Path, Option<u32>),
        places: Places,
        retprobe: bool,
    ) -> Result<Vec<Link>, Missing> {
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

fn places(functions: &[&TlsFunction], of: impl Fn(&TlsFunction) -> Vec<usize>) -> Places {
    let places = functions.iter().flat_map(|function| {
        let places = of(function).into_iter();
        places.map(|place| (place, function.does as u64))
    });
    places.unzip()
}

/// A process as the kernel takes it here: -1 is all of them.
fn number(pid: Option<u32>) -> i32 {
    pid.map_or(-1, |pid| pid as i32)
}
