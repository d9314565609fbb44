//! The command that is recorded: started, but held before its first instruction.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    thread::JoinHandle,
};

/// A command that waits for [`HeldCommand::release`] between fork and exec, so that the recorder
/// can mark it and misses nothing of it.
pub(crate) struct HeldCommand {
    pid: u32,
    /// Both are gone once it was released.
    gate: Option<PipeWriter>,
    spawn: Option<JoinHandle<io::Result<Child>>>,
}

impl HeldCommand {
    /// Forks the command's process.
    ///
    /// # Errors
    /// If no process can be made.
    pub(crate) fn start(argv: &[String]) -> io::Result<Self> {
        let (gate_reader, gate) = io::pipe()?;
        let (mut pid_reader, pid_writer) = io::pipe()?;
        let [program, args @ ..] = argv else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the command is empty",
            ));
        };
        let mut command = Command::new(program);
        command.args(args);
        hold(&mut command, pid_writer, gate_reader, gate.as_raw_fd());
        // `spawn` returns only after exec, so another thread waits for it.
        let spawn = std::thread::spawn(move || command.spawn());
        let mut pid = [0; 4];
        pid_reader.read_exact(&mut pid)?;
        Ok(Self {
            pid: u32::from_ne_bytes(pid),
            gate: Some(gate),
            spawn: Some(spawn),
        })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the command begin.
    ///
    /// # Errors
    /// If the program cannot be executed.
    pub(crate) fn release(mut self) -> io::Result<RunningCommand> {
        let (Some(mut gate), Some(spawn)) = (self.gate.take(), self.spawn.take()) else {
            return Err(io::Error::other("the command was released before"));
        };
        gate.write_all(&[1])?;
        let child = spawn
            .join()
            .map_err(|_| io::Error::other("the thread that started the command failed"))??;
        Ok(RunningCommand {
            child,
            status: None,
        })
    }
}

impl Drop for HeldCommand {
    /// Lets the process that waits give up, and waits until it has said so: it would complain if nobody
    /// were there to hear it.
    fn drop(&mut self) {
        drop(self.gate.take());
        if let Some(spawn) = self.spawn.take() {
            let _ = spawn.join();
        }
    }
}

/// Makes the child tell its pid and wait.
fn hold(command: &mut Command, mut pid_writer: PipeWriter, mut gate: PipeReader, writer: RawFd) {
    let wait = move || {
        // SAFETY: `writer` is the child's copy of the recorder's end of the gate. Nothing else uses
        // it here: the child's copy of its owner is never dropped, because exec or _exit follows.
        unsafe { rustix::io::close(writer) };
        pid_writer.write_all(&std::process::id().to_ne_bytes())?;
        // If the recorder ends first, the gate has no writer left: the command must not run.
        gate.read_exact(&mut [0])
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes
    // four, close, getpid, write and read, on descriptors of its own, and allocates nothing.
    unsafe {
        command.pre_exec(wait);
    }
}

/// A command that runs.
pub(crate) struct RunningCommand {
    child: Child,
    status: Option<ExitStatus>,
}

impl RunningCommand {
    /// Whether it has ended.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status.is_some())
    }

    /// How it ended, as `wait(2)` reports; `None` while it runs.
    pub(crate) fn wait_status(&self) -> Option<i32> {
        self.status
            .map(std::os::unix::process::ExitStatusExt::into_raw)
    }

    /// Asks it to end and waits: a command that was started for a recording ends with it.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub(crate) fn terminate(&mut self) -> io::Result<()> {
        if !self.has_ended()? {
            if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
            self.status = Some(self.child.wait()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_command_begins_when_it_is_released() {
        let held = HeldCommand::start(&["true".into()]).unwrap();
        assert!(std::path::Path::new(&format!("/proc/{}", held.pid())).exists());
        let mut running = held.release().unwrap();
        while !running.has_ended().unwrap() {}
        assert_eq!(running.wait_status(), Some(0));
    }

    #[test]
    fn a_command_that_is_never_released_does_not_stay() {
        let held = HeldCommand::start(&["true".into()]).unwrap();
        let process = format!("/proc/{}", held.pid());
        drop(held);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    fn a_command_that_does_not_exist_is_an_error() {
        let held = HeldCommand::start(&["/no/such/program".into()]).unwrap();
        assert_eq!(
            held.release().err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
    }
}
