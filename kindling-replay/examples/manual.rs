//! Writes the man pages and the shell completions of both programs into a directory, its argument.
//! `make man` calls it.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

/// The recorder's command line. It is no library, and what can be typed is all that is needed of it.
#[path = "../../kindling-record/src/cli.rs"]
#[allow(dead_code)]
mod record;

fn main() -> io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("name a directory to write to"));
    };
    let dir = Path::new(&dir);
    write_manual(kindling_replay::cli::Cli::command(), dir)?;
    write_manual(record::Cli::command(), dir)
}

fn write_manual(mut command: Command, dir: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let completions = dir.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, &name, &completions)?;
    }
    let man = dir.join("man1");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command, man)
}
