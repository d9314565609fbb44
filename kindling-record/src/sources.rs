//! The sources of events: which programs each needs, and what is missing without it.

use crate::kernel_btf::KernelBtf;

/// A family of BPF programs that loads and attaches by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceSpec {
    /// Its name in `doctor`, in warnings and in the capture.
    pub(crate) name: &'static str,
    /// The programs, by their names in the BPF object: of several forms the first one that fits the
    /// kernel's tracepoints.
    forms: &'static [&'static [&'static str]],
    /// What a capture lacks without it.
    pub(crate) gives: &'static str,
    /// Whether recording makes no sense without it.
    pub(crate) required: bool,
    /// Whether it is recorded only when it is asked for.
    pub(crate) optional: bool,
}

/// The programs that user space runs, and that are attached to nothing.
pub(crate) const RUN_BY_HAND: [&str; 2] = ["send_outbox", "look_at_sockets"];

/// All sources that are BPF programs, in the order in which they are attached: lives first, so that
/// no thread is born unseen, samples last, so that they do not see the others being attached.
pub(crate) const PROGRAMS: [SourceSpec; 15] = [
    SourceSpec {
        name: "processes",
        forms: &[&[
            "sched_process_fork",
            "sched_process_exec",
            "sched_process_exit",
            "task_rename",
        ]],
        gives: "process and thread lives, following children",
        required: true,
        optional: false,
    },
    SourceSpec {
        name: "tasks",
        forms: &[&["iter_tasks"]],
        gives: "the threads that exist when recording begins and ends",
        required: true,
        optional: false,
    },
    SourceSpec {
        name: "cgroups",
        forms: &[&["cgroup_attach_task", "cgroup_mkdir"]],
        gives: "processes that are moved into a cgroup of the target, and containers that start",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "syscalls",
        forms: &[&["sys_enter", "sys_exit", "send_outbox"]],
        gives: "syscalls, files, payloads",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: TLS,
        forms: &[&["tls_enter", "tls_return", "go_tls_enter", "go_tls_return"]],
        gives: "plaintext of OpenSSL, GnuTLS and Go's crypto/tls",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "io_uring",
        forms: &[
            &["io_uring_submit_req", "io_uring_complete"],
            &["io_uring_submit_req", "io_uring_complete_values"],
            &["io_uring_submit_sqe", "io_uring_complete_values"],
        ],
        gives: "what goes through an io_uring",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "tcp",
        forms: &[&[
            "inet_sock_set_state",
            "tcp_retransmit_skb",
            "tcp_send_reset",
            "tcp_receive_reset",
        ]],
        gives: "states, retransmissions and resets of TCP connections",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "tcp_rtt",
        forms: &[&["look_at_sockets"]],
        gives: "round-trip times of TCP connections while they last",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "switches",
        forms: &[&["sched_switch"]],
        gives: "on-CPU and off-CPU time, off-CPU stacks",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "wakeups",
        forms: &[&["sched_waking", "sched_wakeup_new"]],
        gives: "who woke whom, run-queue latency",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "interrupts",
        forms: &[&[
            "irq_handler_entry",
            "irq_handler_exit",
            "hrtimer_expire_entry",
            "hrtimer_expire_exit",
            "timer_expire_entry",
            "timer_expire_exit",
        ]],
        gives: "whether a wakeup came from an interrupt",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "migrations",
        forms: &[&["sched_migrate_task"]],
        gives: "when threads are moved to another CPU (--events +migrations)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: "block",
        forms: &[
            &[
                "block_io_start",
                "block_rq_issue",
                "block_rq_complete",
                "block_io_done",
            ],
            &["block_rq_insert", "block_rq_issue", "block_rq_complete"],
        ],
        gives: "requests to disks (--events +block)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: "faults",
        forms: &[&["page_fault_user", "page_fault_kernel"]],
        gives: "page faults (--events +faults)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: SAMPLES,
        forms: &[&["sample"]],
        gives: "on-CPU stack samples",
        required: false,
        optional: false,
    },
];

/// Programs that not every kernel has the tracepoint for, or not in this form: its name, and how many
/// arguments it has.
const TRACEPOINTS: [(&str, &str, usize); 6] = [
    // Linux 6.3
    ("io_uring_submit_req", "io_uring_submit_req", 1),
    ("io_uring_submit_sqe", "io_uring_submit_sqe", 2),
    // Linux 6.16
    ("io_uring_complete", "io_uring_complete", 3),
    ("io_uring_complete_values", "io_uring_complete", 7),
    // Linux 6.5
    ("block_io_start", "block_io_start", 1),
    ("block_io_done", "block_io_done", 1),
];

/// The name of the source of plaintext.
pub(crate) const TLS: &str = "tls";
/// The name of the source of stack samples.
pub(crate) const SAMPLES: &str = "samples";
/// The name of the source of executable mappings.
pub(crate) const MAPPINGS: &str = "mappings";

/// A change of what is recorded: `+NAME` or `-NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventChoice {
    name: &'static str,
    wanted: bool,
}

/// Reads a change of what is recorded.
///
/// # Errors
/// If there is no such source, or recording makes no sense without it.
pub(crate) fn parse_events(text: &str) -> Result<EventChoice, String> {
    let (name, wanted) = match text.strip_prefix('-') {
        Some(name) => (name, false),
        None => (text.strip_prefix('+').unwrap_or(text), true),
    };
    let source = PROGRAMS.iter().find(|source| source.name == name);
    let source = source.ok_or_else(|| {
        let names: Vec<&str> = PROGRAMS.iter().map(|source| source.name).collect();
        format!("`{name}` is none of {}", names.join(", "))
    })?;
    if source.required && !wanted {
        return Err(format!("nothing can be recorded without {name}"));
    }
    let name = source.name;
    Ok(EventChoice { name, wanted })
}

/// The table that a program fills, or the one that is wrong without what it knows.
pub(crate) fn table_of(program: &str) -> Option<&'static str> {
    let has = |source: &&SourceSpec| source.forms.iter().any(|form| form.contains(&program));
    let source = PROGRAMS.iter().find(has)?;
    Some(match source.name {
        "tasks" | "cgroups" => "processes",
        "tcp_rtt" => "tcp",
        // Whether an interrupt woke.
        "interrupts" => "wakeups",
        TLS => "payloads",
        name => name,
    })
}

/// What tells which forms of the sources fit this kernel.
pub(crate) fn kernel_btf() -> KernelBtf {
    KernelBtf::read(TRACEPOINTS.iter().map(|(_, tracepoint, _)| *tracepoint))
}

impl SourceSpec {
    /// The programs for this kernel.
    pub(crate) fn programs(&self, kernel: &KernelBtf) -> &'static [&'static str] {
        let fits = |program: &&str| {
            let mut known = TRACEPOINTS.iter().filter(|(name, ..)| name == program);
            known.all(|(_, tracepoint, arguments)| kernel.arguments(tracepoint) == Some(*arguments))
        };
        let mut fitting = self.forms.iter().filter(|form| form.iter().all(fits));
        // If none fits, the kernel says why when the first is loaded.
        fitting
            .next()
            .or(self.forms.first())
            .copied()
            .unwrap_or_default()
    }

    /// Whether it is recorded with these choices; the last one about it counts.
    pub(crate) fn is_chosen(&self, choices: &[EventChoice]) -> bool {
        let choice = choices.iter().rfind(|choice| choice.name == self.name);
        choice.map_or(!self.optional, |choice| choice.wanted)
    }
}

/// Why a source cannot be had, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What the kernel said.
    pub(crate) why: String,
    /// What the user can do.
    pub(crate) remedy: String,
}

impl Missing {
    /// Explains an error of loading or attaching a program.
    pub(crate) fn explain(error: &dyn std::fmt::Display, os_error: Option<i32>) -> Self {
        let why = format!("{error}");
        let remedy = match os_error {
            Some(1 | 13) => "run as root, or give CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE",
            Some(2 | 3 | 22) => {
                "this kernel has no such event, or no BTF (CONFIG_DEBUG_INFO_BTF); Linux 6.1 or newer is needed"
            }
            Some(38 | 95) => "this kernel was built without it",
            Some(7 | 12) => "there was not enough memory; use a smaller --buffer",
            _ => "see dmesg and `bpftool feature`",
        };
        Self {
            why,
            remedy: remedy.to_owned(),
        }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.why, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(choices: &[&str]) -> Vec<&'static str> {
        let choices: Vec<_> = choices
            .iter()
            .map(|text| parse_events(text).unwrap())
            .collect();
        let sources = PROGRAMS.iter().filter(|source| source.is_chosen(&choices));
        sources.map(|source| source.name).collect()
    }

    #[test]
    fn every_program_fills_a_table() {
        let tables = kindling_format::schema::tables();
        for program in PROGRAMS
            .iter()
            .flat_map(|source| source.forms)
            .copied()
            .flatten()
        {
            let table = table_of(program);
            assert!(
                tables.iter().any(|known| Some(known.name) == table),
                "{program}"
            );
        }
        assert_eq!(table_of("nothing"), None);
    }

    #[test]
    fn programs_fit_the_tracepoints_of_the_kernel() {
        let programs = |name: &str, kernel: &[(&'static str, usize)]| {
            let source = PROGRAMS.iter().find(|source| source.name == name).unwrap();
            source.programs(&kernel.iter().copied().collect())
        };
        let old = [("io_uring_submit_sqe", 2), ("io_uring_complete", 7)];
        let between = [("io_uring_submit_req", 1), ("io_uring_complete", 7)];
        let new = [("io_uring_submit_req", 1), ("io_uring_complete", 3)];
        assert_eq!(
            programs("io_uring", &old),
            ["io_uring_submit_sqe", "io_uring_complete_values"]
        );
        assert_eq!(
            programs("io_uring", &between),
            ["io_uring_submit_req", "io_uring_complete_values"]
        );
        assert_eq!(
            programs("io_uring", &new),
            ["io_uring_submit_req", "io_uring_complete"]
        );
        assert_eq!(programs("io_uring", &[]), programs("io_uring", &new));
        assert!(programs("block", &[]).contains(&"block_rq_insert"));
        let ends = [("block_io_start", 1), ("block_io_done", 1)];
        assert!(programs("block", &ends).contains(&"block_io_done"));
        assert_eq!(programs("switches", &[]), ["sched_switch"]);
    }

    #[test]
    fn sources_are_added_and_left_out() {
        assert!(!chosen(&[]).contains(&"block") && chosen(&[]).contains(&"tcp"));
        assert!(chosen(&["+block"]).contains(&"block"));
        assert!(!chosen(&["-tcp"]).contains(&"tcp"));
        assert!(chosen(&["-tcp", "tcp"]).contains(&"tcp"));
        assert!(parse_events("+nothing").unwrap_err().contains("block"));
        assert!(parse_events("-processes").is_err());
    }
}
