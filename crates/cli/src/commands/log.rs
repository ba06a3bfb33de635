//! `haul log`: reads the event log, also while a gateway writes it.

mod routes;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use haul::ErrorKind;
use haul::event_log::{
    DeadLetter, Events, LogView, Query, Recorded, SessionInfo, session_name, session_of_name,
};
use serde_json::{Value, json};

use super::data::{DataArgs, ago, rfc3339};
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, count, packet_json, shown, size};
use routes::{Forget, Routes};

/// How often a log that another process writes is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Look into the event log of a gateway, running or not
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print events, oldest first: the payload of each and a line feed
    Cat(Cat),
    /// List the sessions, with the number of their events
    Ls(Ls),
    /// Print events as they are stored, until ctrl-c
    Follow(Follow),
    /// List the routes that have a place in the log, and how much is kept for each
    Routes(Routes),
    /// Forget the place of a route that is no more: what it has not got is kept for it no longer
    ///
    /// A route that the gateway has is not forgotten. One that comes back later under that name begins with the oldest
    /// event.
    Forget(Forget),
    /// Read everything and report what is damaged; exit code 1 if something is
    Verify(Verify),
}

/// Which events, and how.
#[derive(clap::Args, Debug)]
struct Which {
    #[command(flatten)]
    data: DataArgs,
    /// Only events of this session, by id or by the name that ls prints
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Begin at this number
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Print payloads one behind the other, without line feeds between them
    #[arg(long)]
    raw: bool,
}

#[derive(clap::Args, Debug)]
struct Cat {
    #[command(flatten)]
    which: Which,
    /// End with this number
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Print what sinks refused for good, with the reason, instead
    #[arg(long, conflicts_with_all = ["from", "to", "raw"])]
    dead: bool,
}

#[derive(clap::Args, Debug)]
struct Follow {
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args, Debug)]
struct Ls {
    #[command(flatten)]
    data: DataArgs,
}

#[derive(clap::Args, Debug)]
struct Verify {
    #[command(flatten)]
    data: DataArgs,
}

pub(crate) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    match args.command {
        Command::Cat(args) if args.dead => cat_dead(&args.which, out),
        Command::Cat(args) => cat(&args, out),
        Command::Follow(args) => follow(&args.which, out).await,
        Command::Ls(args) => ls(&args.data, out),
        Command::Routes(args) => routes::list(&args, out).await,
        Command::Forget(args) => routes::forget(&args, out).await,
        Command::Verify(args) => verify(&args.data, out),
    }
}

fn open(data: &DataArgs) -> Result<(LogView, PathBuf), Failure> {
    let dir = data.dir()?;
    let view = LogView::open(&dir).map_err(|why| match why.kind() {
        ErrorKind::NotFound => {
            Failure::from(why).with_hint("name the folder of the gateway's data with --data DIR")
        }
        _ => Failure::from(why),
    })?;
    Ok((view, dir))
}

impl Which {
    fn query(&self) -> Query {
        Query { from: self.from.unwrap_or(0), ..Query::default() }
    }
}

/// Whether `event` is of the session that was asked for.
fn is_of(wanted: Option<&String>, session: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == session || session_of_name(wanted).is_some_and(|id| id == session))
}

/// Prints events to stdout, buffered.
struct Printer<'a> {
    out: Output,
    which: &'a Which,
    stdout: BufWriter<io::Stdout>,
    damaged: u64,
}

impl<'a> Printer<'a> {
    fn new(out: Output, which: &'a Which) -> Self {
        Self { out, which, stdout: BufWriter::with_capacity(64 << 10, io::stdout()), damaged: 0 }
    }

    /// Prints what there is at the moment. What is damaged or gone is said on stderr and passed.
    fn drain(&mut self, events: &mut Events) -> Result<(), Failure> {
        loop {
            match events.read() {
                Ok(Some(recorded)) if is_of(self.which.session.as_ref(), &recorded.event.session) => {
                    self.print(&recorded)?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(self.stdout.flush()?),
                Err(why) if why.kind() == ErrorKind::Gap => {
                    self.stdout.flush()?;
                    self.out.warn(&why.to_string());
                }
                Err(why) if why.kind() == ErrorKind::Io => return Err(why.into()),
                Err(why) => {
                    self.stdout.flush()?;
                    self.out.warn(&why.to_string());
                    self.damaged += 1;
                    events.skip();
                }
            }
        }
    }

    fn print(&mut self, recorded: &Recorded) -> Result<(), Failure> {
        if self.out.json {
            writeln!(self.stdout, "{}", event_json(recorded))?;
            return Ok(());
        }
        let packet = &recorded.event.packet;
        match self.out.terminal {
            true => self.stdout.write_all(&shown(packet, None, true))?,
            false => self.stdout.write_all(packet.payload())?,
        }
        if !self.which.raw {
            self.stdout.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        match self.damaged {
            0 => Ok(()),
            damaged => Err(Failure::new(
                Code::Failed,
                format!("{} could not be read", count(damaged, "damaged place")),
            )
            .with_hint("see with haul log verify what is missing")),
        }
    }
}

fn event_json(recorded: &Recorded) -> Value {
    let event = &recorded.event;
    let mut object = packet_json("stored", &event.packet);
    object["seq"] = recorded.seq.into();
    object["session"] = event.session.as_str().into();
    object["received"] = rfc3339(event.received).into();
    object["protocol"] = event.protocol.as_str().into();
    object["peer"] = event.peer.as_str().into();
    object
}

fn cat(args: &Cat, out: Output) -> Result<(), Failure> {
    let (view, _) = open(&args.which.data)?;
    let query = Query { to: args.to, ..args.which.query() };
    let mut printer = Printer::new(out, &args.which);
    printer.drain(&mut view.read(query)?)?;
    printer.finish()
}

async fn follow(which: &Which, out: Output) -> Result<(), Failure> {
    let (view, _) = open(&which.data)?;
    let from = match which.from {
        Some(from) => from,
        None => view.next()?,
    };
    let mut events = view.read(Query { from, ..Query::default() })?;
    let mut printer = Printer::new(out, which);
    let mut stop = std::pin::pin!(crate::stopped());
    loop {
        printer.drain(&mut events)?;
        tokio::select! {
            stopped = &mut stop => return stopped.and(printer.finish()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn cat_dead(which: &Which, out: Output) -> Result<(), Failure> {
    let (view, _) = open(&which.data)?;
    let mut letters = view.dead()?;
    while let Some(letter) = letters.read()? {
        if !is_of(which.session.as_ref(), &letter.event.session) {
            continue;
        }
        match out.json {
            true => out.object(&letter_json(&letter))?,
            false => {
                let reason = format!("event {} refused by {}: {}", letter.seq, letter.sink, letter.message);
                out.line(&out.paint(Paint::Bad, &reason.escape_debug().to_string()))?;
                out.bytes(&shown(&letter.event.packet, None, out.terminal))?;
                out.line("")?;
            }
        }
    }
    Ok(())
}

fn letter_json(letter: &DeadLetter) -> Value {
    let mut object = packet_json("dead", &letter.event.packet);
    object["seq"] = letter.seq.into();
    object["session"] = letter.event.session.as_str().into();
    object["sink"] = letter.sink.as_str().into();
    object["kind"] = letter.kind.as_str().into();
    object["message"] = letter.message.as_str().into();
    object["at"] = rfc3339(letter.at).into();
    object
}

fn ls(data: &DataArgs, out: Output) -> Result<(), Failure> {
    let (view, _) = open(data)?;
    let sessions = view.sessions()?;
    if out.json {
        for info in sessions {
            out.object(&json!({
                "event": "session",
                "session": info.session,
                "name": session_name(&info.session),
                "events": info.events,
                "bytes": info.bytes,
                "first": info.first,
                "last": info.last,
                "first_at": rfc3339(info.first_at),
                "last_at": rfc3339(info.last_at),
            }))?;
        }
        return Ok(());
    }
    let row = |info: SessionInfo| {
        vec![
            session_name(&info.session),
            count(info.events, "event"),
            size(info.bytes),
            format!("{}-{}", info.first, info.last),
            ago(info.last_at),
        ]
    };
    out.table(&sessions.into_iter().map(row).collect::<Vec<_>>())
}

fn verify(data: &DataArgs, out: Output) -> Result<(), Failure> {
    let (view, dir) = open(data)?;
    let found = view.verify()?;
    let mut wrong: Vec<String> = found.events.damage.iter().map(ToString::to_string).collect();
    if let Some(dead) = &found.dead {
        wrong.extend(dead.damage.iter().map(|damage| format!("dead letters: {damage}")));
    }
    wrong.extend(found.unreadable.iter().map(|(seq, why)| format!("event {seq}: {why}")));
    let report = &found.events;
    if out.json {
        out.object(&json!({
            "event": "verified",
            "events": report.records,
            "bytes": report.bytes,
            "segments": report.segments,
            "dead": found.dead.as_ref().map(|dead| dead.records),
            "unfinished": report.unfinished.as_ref().map(|torn| torn.bytes),
            "wrong": wrong,
        }))?;
    } else {
        let (events, files) = (count(report.records, "event"), count(report.segments, "file"));
        out.line(&format!("{}: {events}, {} in {files}", dir.display(), size(report.bytes)))?;
        if let Some(dead) = found.dead.as_ref().filter(|dead| dead.records > 0) {
            out.line(&count(dead.records, "dead letter"))?;
        }
        if let Some(torn) = &report.unfinished {
            let what = format!(
                "{} at its end are unfinished: being written, or cut off at the next start",
                size(torn.bytes)
            );
            out.remark(&what);
        }
        for what in &wrong {
            out.line(&out.paint(Paint::Bad, what))?;
        }
    }
    match wrong.len() {
        0 => Ok(()),
        places => Err(Failure::new(Code::Failed, format!("{} damaged", count(places as u64, "place")))),
    }
}
