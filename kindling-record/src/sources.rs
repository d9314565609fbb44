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
}

/// All sources that are BPF programs, in the order in which they are attached: lives first, so that
/// no thread is born unseen, samples last, so that they do not see the others being attached.
pub(crate) const PROGRAMS: [SourceSpec; 11] = [
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
    },
    SourceSpec {
        name: "tasks",
        programs: &["iter_tasks"],
        gives: "the threads that exist when recording begins and ends",
        required: true,
    },
    SourceSpec {
        name: "cgroups",
        programs: &["cgroup_attach_task"],
        gives: "processes that are moved into a cgroup of the target",
        required: false,
    },
    SourceSpec {
        name: "syscalls",
        programs: &["sys_enter", "sys_exit"],
        gives: "syscalls, files, payloads",
        required: false,
    },
    SourceSpec {
        name: "io_uring",
        programs: &["io_uring_submit_req", "io_uring_complete"],
        gives: "what goes through an io_uring",
        required: false,
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
    },
    SourceSpec {
        name: "tcp_rtt",
        programs: &["tcp_probe"],
        gives: "round-trip times of TCP connections while they last",
        required: false,
    },
    SourceSpec {
        name: "switches",
        programs: &["sched_switch"],
        gives: "on-CPU and off-CPU time, off-CPU stacks",
        required: false,
    },
    SourceSpec {
        name: "wakeups",
        programs: &["sched_waking", "sched_wakeup_new"],
        gives: "who woke whom, run-queue latency",
        required: false,
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
    },
    SourceSpec {
        name: SAMPLES,
        programs: &["sample"],
        gives: "on-CPU stack samples",
        required: false,
    },
];

/// The name of the source of stack samples.
pub(crate) const SAMPLES: &str = "samples";
/// The name of the source of executable mappings.
pub(crate) const MAPPINGS: &str = "mappings";

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
