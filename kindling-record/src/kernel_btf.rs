//! What differs between kernels, as this one's BTF describes it.

use std::collections::HashMap;

use libbpf_rs::btf::{
    Btf, ReferencesType,
    types::{Enum, FuncProto, Ptr, Typedef},
};

/// What a tracepoint's type is called: `btf_trace_NAME`, a pointer to a function.
const PREFIX: &str = "btf_trace_";

/// Which forms of programs fit this kernel.
#[derive(Debug, Default)]
pub(crate) struct KernelBtf {
    /// How many arguments each tracepoint has that was asked for.
    arguments: HashMap<&'static str, usize>,
    /// Whether one program can be attached to many functions at once (Linux 6.6).
    pub(crate) has_multi_uprobes: bool,
}

impl KernelBtf {
    /// What is asked of this kernel: the tracepoints of these `names`. It has nothing if it has no BTF.
    pub(crate) fn read(names: impl Iterator<Item = &'static str>) -> Self {
        let Ok(kernel) = Btf::from_vmlinux() else {
            return Self::default();
        };
        Self {
            arguments: names
                .filter_map(|name| Some((name, arguments(&kernel, name)?)))
                .collect(),
            has_multi_uprobes: has_multi_uprobes(&kernel),
        }
    }

    /// The number of a tracepoint's arguments; `None` if the kernel does not have it.
    pub(crate) fn arguments(&self, tracepoint: &str) -> Option<usize> {
        self.arguments.get(tracepoint).copied()
    }
}

impl FromIterator<(&'static str, usize)> for KernelBtf {
    fn from_iter<I: IntoIterator<Item = (&'static str, usize)>>(tracepoints: I) -> Self {
        Self {
            arguments: tracepoints.into_iter().collect(),
            ..Self::default()
        }
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

fn has_multi_uprobes(kernel: &Btf<'_>) -> bool {
    let types = kernel.type_by_name::<Enum<'_>>("bpf_attach_type");
    types.is_some_and(|types| {
        let mut names = types.iter().filter_map(|value| value.name);
        names.any(|name| name == "BPF_TRACE_UPROBE_MULTI")
    })
}
