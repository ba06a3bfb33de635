//! `haul outbox`: looks into an outbox, also while a program has it open, and mends one that none has.

mod change;
mod export;
mod look;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Subcommand;
use haul::ErrorKind;
use haul::outbox::{OutboxView, SecretKey, Which};

use crate::exit::Failure;
use crate::output::Output;

/// The variable that has the key of a sealed outbox.
const KEY: &str = "HAUL_OUTBOX_KEY";

/// Look into the outbox of a program, running or not, and bring back what was refused
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits, by key, and count the dead letters
    Ls(Ls),
    /// Read everything and report what is damaged; nothing is changed; exit code 1 if something is
    Fsck(Fsck),
    /// Put dead letters back at the end of the outbox; no program may have it open
    Replay(Replay),
    /// Print what waits, or the dead letters, as JSON lines
    Export(Export),
    /// Remove dead letters, or what waits, for good; no program may have it open
    Purge(Purge),
}

/// Which outbox.
#[derive(clap::Args, Clone, Debug)]
struct Place {
    /// The outbox's folder
    dir: PathBuf,
    /// Read the key of a sealed outbox from this file [default: what HAUL_OUTBOX_KEY says]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Ls {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
struct Fsck {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
struct Replay {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    letters: Letters,
}

/// Which dead letters.
#[derive(clap::Args, Debug)]
struct Letters {
    /// Only the dead letter of this number; may be given again [default: all]
    #[arg(long, value_name = "N")]
    id: Vec<u64>,
}

#[derive(clap::Args, Debug)]
struct Export {
    #[command(flatten)]
    place: Place,
    /// The dead letters, with the reasons, instead of what waits
    #[arg(long)]
    dead: bool,
    /// Write to this file, which must not be there, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Purge {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    letters: Letters,
    /// What waits to be delivered, instead of dead letters
    #[arg(long, conflicts_with = "id")]
    pending: bool,
    /// Yes, they are to be gone
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    match args.command {
        Command::Ls(args) => look::ls(&args, out),
        Command::Fsck(args) => look::fsck(&args, out),
        Command::Replay(args) => change::replay(&args, out).await,
        Command::Export(args) => export::run(&args, out),
        Command::Purge(args) => change::purge(&args, out).await,
    }
}

impl Place {
    fn key(&self) -> Result<Option<SecretKey>, Failure> {
        if let Some(file) = &self.key_file {
            return Ok(Some(SecretKey::read(file)?));
        }
        match std::env::var(KEY) {
            Ok(key) => Ok(Some(SecretKey::parse(&key).map_err(|why| why.while_doing(KEY))?)),
            Err(_) => Ok(None),
        }
    }

    fn view(&self) -> Result<OutboxView, Failure> {
        OutboxView::open(&self.dir, self.key()?.as_ref()).map_err(explained)
    }
}

impl Letters {
    fn which(&self) -> Which {
        match self.id.is_empty() {
            true => Which::All,
            false => Which::These(self.id.iter().copied().collect::<BTreeSet<_>>()),
        }
    }
}

/// What is to be done where an outbox cannot be opened or read.
fn explained(why: haul::Error) -> Failure {
    let hint = match why.kind() {
        ErrorKind::NotFound => "name the folder that is `dir` in the outbox's options",
        ErrorKind::Unauthorized => "give the key with --key-file FILE or in HAUL_OUTBOX_KEY",
        ErrorKind::Overloaded => "stop the program that has it open; ls, fsck and export work meanwhile",
        _ => return why.into(),
    };
    Failure::from(why).with_hint(hint)
}
