//! `haul outbox export`: JSON lines of what waits, or of the dead letters.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};

use haul::outbox::{DeadLetter, OutboxView, PendingPacket};
use haul::{Error, ErrorKind};
use serde_json::Value;

use super::{Export, explained};
use crate::commands::data::rfc3339;
use crate::exit::{Code, Failure};
use crate::output::{Output, count, packet_json};

pub(super) fn run(args: &Export, out: Output) -> Result<(), Failure> {
    let view = args.place.view()?;
    let Some(file) = &args.out else {
        let (_, damaged) = print(&view, args.dead, &mut BufWriter::new(io::stdout().lock()), out)?;
        return whole(damaged);
    };
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    let made = made.map_err(|why| Error::from(why).while_doing(format!("make {}", file.display())))?;
    let (lines, damaged) = print(&view, args.dead, &mut BufWriter::new(&made), out)?;
    made.sync_all()?;
    out.remark(&format!("{} in {}", count(lines, "line"), file.display()));
    whole(damaged)
}

/// Prints all that can be read; answers how much that was, and how often something could not. That is said on stderr.
fn print(view: &OutboxView, dead: bool, to: &mut impl Write, out: Output) -> Result<(u64, u64), Failure> {
    let (mut lines, mut damaged) = (0, 0);
    let mut pending = view.pending().map_err(explained)?;
    let mut letters = view.dead().map_err(explained)?;
    loop {
        let next = match dead {
            true => letters.read().map(|letter| letter.as_ref().map(letter_json)),
            false => pending.read().map(|packet| packet.as_ref().map(packet_line)),
        };
        match next {
            Ok(Some(line)) => {
                writeln!(to, "{line}")?;
                lines += 1;
            }
            Ok(None) => {
                to.flush()?;
                return Ok((lines, damaged));
            }
            Err(why) if matches!(why.kind(), ErrorKind::Io | ErrorKind::Unauthorized) => {
                return Err(explained(why));
            }
            Err(why) => {
                to.flush()?;
                out.warn(&why.to_string());
                damaged += u64::from(why.kind() != ErrorKind::Gap);
                match dead {
                    true => letters.skip(),
                    false => pending.skip(),
                }
            }
        }
    }
}

fn whole(damaged: u64) -> Result<(), Failure> {
    match damaged {
        0 => Ok(()),
        _ => {
            let message = format!("{} could not be read", count(damaged, "damaged place"));
            Err(Failure::new(Code::Failed, message).with_hint("see with haul outbox fsck what is missing"))
        }
    }
}

fn packet_line(one: &PendingPacket) -> Value {
    let mut object = packet_json("pending", &one.packet);
    object["seq"] = one.seq.into();
    object["key"] = one.key.as_str().into();
    object["stored"] = rfc3339(one.stored).into();
    object
}

fn letter_json(letter: &DeadLetter) -> Value {
    let mut object = packet_json("dead", &letter.packet);
    object["letter"] = letter.id.into();
    object["seq"] = letter.seq.into();
    object["key"] = letter.key.as_str().into();
    object["stored"] = rfc3339(letter.stored).into();
    object["at"] = rfc3339(letter.at).into();
    object["tries"] = letter.tries.into();
    object["kind"] = letter.kind.as_str().into();
    object["message"] = letter.message.as_str().into();
    object
}
