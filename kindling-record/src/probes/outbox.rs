//! Finished syscalls that wait on their CPU for others to be sent with.

use libbpf_rs::ProgramInput;

use super::Probes;

/// `BPF_F_TEST_RUN_ON_CPU` of the kernel.
const RUN_ON_CPU: u32 = 1;
/// How often a CPU is asked that is just adding a syscall: it takes a fraction of a microsecond.
const TRIES: u32 = 100;

/// What was last seen of each CPU: how often it has sent.
pub(super) type Seen = Vec<u64>;

impl Probes<'_> {
    /// Has every CPU send what waits there.
    pub(crate) fn empty_outboxes(&mut self) {
        self.send_outboxes(|_, _| true);
    }

    /// Has those CPUs send that have sent nothing since the last call, though something waits: a thread that
    /// computes, after some calls.
    pub(crate) fn empty_old_outboxes(&mut self) {
        self.send_outboxes(|seen, sent| seen == sent);
    }

    fn send_outboxes(&mut self, is_wanted: impl Fn(u64, u64) -> bool) {
        let Some(bss) = self.skeleton.maps.bss_data.as_deref() else {
            return;
        };
        for (cpu, (seen, look)) in self.outboxes.iter_mut().zip(&bss.outbox_looks).enumerate() {
            if look.waiting > 0 && is_wanted(*seen, look.sent) {
                let program = &self.skeleton.progs.send_outbox;
                let ask = |_| {
                    let input = ProgramInput {
                        cpu: cpu as u32,
                        flags: RUN_ON_CPU,
                        ..Default::default()
                    };
                    program.test_run(input)
                };
                // A CPU that has gone offline has switched before, and sent.
                let _ = (0..TRIES).map(ask).find(|answer| {
                    answer
                        .as_ref()
                        .map_or(true, |answer| answer.return_value == 0)
                });
            }
            *seen = look.sent;
        }
    }
}
