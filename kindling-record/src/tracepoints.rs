//! The tracepoints of this kernel, as its BTF describes them: some have changed.

use std::collections::HashMap;

use libbpf_rs::btf::{
    Btf, ReferencesType,
    types::{FuncProto, Ptr, Typedef},
};

/// What a tracepoint's type is called: `btf_trace_NAME`, a pointer to a function.
const PREFIX: &str = "btf_trace_";

/// How many arguments each tracepoint has that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Tracepoints(HashMap<&'static str, usize>);

impl Tracepoints {
    /// Those of `names` that this kernel has; none if it has no BTF.
    pub(crate) fn of_kernel(names: impl Iterator<Item = &'static str>) -> Self {
        let Ok(kernel) = Btf::from_vmlinux() else {
            return Self::default();
        };
        names
            .filter_map(|name| Some((name, arguments(&kernel, name)?)))
            .collect()
    }

    /// The number of its arguments; `None` if the kernel does not have it.
    pub(crate) fn arguments(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }
}

impl FromIterator<(&'static str, usize)> for Tracepoints {
    fn from_iter<I: IntoIterator<Item = (&'static str, usize)>>(tracepoints: I) -> Self {
        Self(tracepoints.into_iter().collect())
    }
}

fn arguments(kernel: &Btf<'_>, name: &str) -> Option<usize> {
    let name = format!("{PREFIX}{name}");
    let pointer: Ptr<'_> = kernel
        .type_by_name::<Typedef<'_>>(&name)?
        .referenced_type()
        .try_into()
        .ok()?;
    let function: FuncProto<'_> = pointer.referenced_type().try_into().ok()?;
    // The first parameter is the data of whoever attaches.
    function.len().checked_sub(1)
}
