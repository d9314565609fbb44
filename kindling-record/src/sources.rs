//! The sources of events: which programs each needs, and what is missing without it.

/// A family of BPF programs that loads and attaches by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceSpec {
    /// Its name in `doctor`, in warnings and in the capture.
    pub(crate) name: &'static str,
    /// The programs, by their names in the BPF object.
    pub(crate) programs: &'static [&'static str],
    /// What a capture lacks without it.
    pub(crate) gives: &'static str,
    /// Whether recording makes no sense without it.
    pub(crate) required: bool,
    /// Whether it is recorded only when it is asked for.
    pub(crate) optional: bool,
}

/// All sources that are BPF programs, in the order in which they are attached: lives first, so that
/// no thread is born unseen, samples last, so that they do not see the others being attached.
pub(crate) const PROGRAMS: [SourceSpec; 15] = [
    SourceSpec {
        name: "processes",
        programs: &[
            "sched_process_fork",
            "sched_process_exec",
            "sched_process_exit",
            "task_rename",
        ],
        gives: "process and thread lives, following children",
        required: true,
        optional: false,
    },
    SourceSpec {
        name: "tasks",
        programs: &["iter_tasks"],
        gives: "the threads that exist when recording begins and ends",
        required: true,
        optional: false,
    },
    SourceSpec {
        name: "cgroups",
        programs: &["cgroup_attach_task", "cgroup_mkdir"],
        gives: "processes that are moved into a cgroup of the target, and containers that start",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "syscalls",
        programs: &["sys_enter", "sys_exit"],
        gives: "syscalls, files, payloads",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: TLS,
        programs: &["tls_enter", "tls_return"],
        gives: "plaintext of OpenSSL and GnuTLS",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "io_uring",
        programs: &["io_uring_submit_req", "io_uring_complete"],
        gives: "what goes through an io_uring",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "tcp",
        programs: &[
            "inet_sock_set_state",
            "tcp_retransmit_skb",
            "tcp_send_reset",
            "tcp_receive_reset",
        ],
        gives: "states, retransmissions and resets of TCP connections",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "tcp_rtt",
        programs: &["tcp_probe"],
        gives: "round-trip times of TCP connections while they last",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "switches",
        programs: &["sched_switch"],
        gives: "on-CPU and off-CPU time, off-CPU stacks",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "wakeups",
        programs: &["sched_waking", "sched_wakeup_new"],
        gives: "who woke whom, run-queue latency",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "interrupts",
        programs: &[
            "irq_handler_entry",
            "irq_handler_exit",
            "hrtimer_expire_entry",
            "hrtimer_expire_exit",
            "timer_expire_entry",
            "timer_expire_exit",
        ],
        gives: "whether a wakeup came from an interrupt",
        required: false,
        optional: false,
    },
    SourceSpec {
        name: "migrations",
        programs: &["sched_migrate_task"],
        gives: "when threads are moved to another CPU (--events +migrations)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: "block",
        programs: &[
            "block_io_start",
            "block_rq_issue",
            "block_rq_complete",
            "block_io_done",
        ],
        gives: "requests to disks (--events +block)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: "faults",
        programs: &["page_fault_user", "page_fault_kernel"],
        gives: "page faults (--events +faults)",
        required: false,
        optional: true,
    },
    SourceSpec {
        name: SAMPLES,
        programs: &["sample"],
        gives: "on-CPU stack samples",
        required: false,
        optional: false,
    },
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

impl SourceSpec {
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
                "this kernel has no such event, or no BTF (CONFIG_DEBUG_INFO_BTF); Linux 5.18 or newer is needed"
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
    fn sources_are_added_and_left_out() {
        assert!(!chosen(&[]).contains(&"block") && chosen(&[]).contains(&"tcp"));
        assert!(chosen(&["+block"]).contains(&"block"));
        assert!(!chosen(&["-tcp"]).contains(&"tcp"));
        assert!(chosen(&["-tcp", "tcp"]).contains(&"tcp"));
        assert!(parse_events("+nothing").unwrap_err().contains("block"));
        assert!(parse_events("-processes").is_err());
    }
}
