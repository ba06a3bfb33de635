//! `haul connect`: what is typed is sent, what comes is printed.

mod screen;

use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use base64::Engine;
use haul::{CloseReason, ErrorKind, Packet, Receiver, Sender, Source, StateWatch};

use crate::args::{Binary, Connect, PipeFraming};
use crate::ends::End;
use crate::exit::{Code, Failure};
use crate::layers::Layers;
use crate::output::Output;
use screen::Screen;

/// The longest line that is sent.
const MAX_LINE: usize = 16 << 20;

pub(crate) async fn run(args: Connect, out: Output) -> Result<(), Failure> {
    let connection = args.layers.connect(&args.url).await.map_err(Failure::connecting)?;
    let interactive = std::io::stdin().is_terminal();
    let screen = Screen::new(out, args.binary, interactive);
    screen.connected(connection.info())?;
    let states = connection.watch();
    let (sender, mut receiver) = connection.split();
    let reason = talk(&args, &screen, &sender, &mut receiver, states).await;
    let closed = sender.close(CloseReason::NORMAL).await;
    screen.done(&sender.state())?;
    reason?;
    closed.map_err(|why| Failure::from(why).with_code(Code::NotDelivered))
}

/// Both directions at once, until the peer ends, ctrl-c, or the input and the wait after it.
async fn talk(
    args: &Connect,
    screen: &Screen,
    sender: &Sender,
    receiver: &mut Receiver,
    states: StateWatch,
) -> Result<(), Failure> {
    let one_way = sender.info().half_close && !screen.interactive;
    let mut input = pin!(read(args.binary, screen, sender));
    let mut output = pin!(print(screen, receiver));
    let mut watching = pin!(watch(screen, states));
    let mut pinging = pin!(ping(args.ping, screen, sender));
    let mut stop = pin!(crate::stopped());
    let mut wait = pin!(wait(None));
    let (mut reading, mut receiving) = (true, true);
    while reading || receiving {
        tokio::select! {
            ended = &mut output, if receiving => {
                ended?;
                receiving = false;
                // A peer that has finished may still listen to the rest of a file, but not to a person.
                if !one_way || sender.state().is_over() {
                    return Ok(());
                }
            }
            ended = &mut input, if reading => {
                ended?;
                reading = false;
                wait.set(self::wait(args.wait));
            }
            failed = &mut watching => failed?,
            failed = &mut pinging => failed?,
            () = &mut wait, if !reading => return Ok(()),
            stop = &mut stop => return stop,
        }
    }
    Ok(())
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Sends lines until the input ends; then finishes.
async fn read(binary: Option<Binary>, screen: &Screen, sender: &Sender) -> Result<(), Failure> {
    let (mut lines, _) = End::Stdio.source(PipeFraming::Lines, MAX_LINE, &Layers::default()).await?;
    while let Some(line) = lines.next().await? {
        let (line, _) = line.split();
        match to_send(line, binary) {
            Ok(packet) => sender.send(packet).await?,
            Err(why) if screen.interactive => screen.warn(&why.message)?,
            Err(why) => return Err(why),
        }
        screen.prompt()?;
    }
    Ok(sender.finish().await?)
}

fn to_send(line: Packet, binary: Option<Binary>) -> Result<Packet, Failure> {
    let decoded = match binary {
        None => return Ok(line),
        Some(Binary::Base64) => {
            base64::engine::general_purpose::STANDARD.decode(line.payload()).map_err(|why| why.to_string())
        }
        Some(Binary::Hex) => from_hex(line.payload()),
    };
    let refused = |why| Failure::usage(format!("send a line: {why}; nothing of it was sent"));
    decoded.map(Packet::binary).map_err(refused)
}

fn from_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |at: usize| {
        let digit = char::from(text[at]).to_digit(16);
        digit.ok_or_else(|| format!("not a hexadecimal digit at byte {at}"))
    };
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| Ok((digit(at)? * 16 + digit(at + 1)?) as u8)).collect()
}

/// Prints what comes until the peer has finished.
async fn print(screen: &Screen, receiver: &mut Receiver) -> Result<(), Failure> {
    loop {
        match receiver.recv().await {
            Ok(Some(packet)) => screen.received(&packet)?,
            Ok(None) => return Ok(()),
            Err(why) if why.kind() == ErrorKind::Gap => screen.warn(&why.to_string())?,
            Err(why) => return Err(why.into()),
        }
    }
}

/// Shows the states as they change. It never ends well: the last one is told by who receives, and shown at the end.
async fn watch(screen: &Screen, mut states: StateWatch) -> Result<(), Failure> {
    while let Some(state) = states.changed().await {
        if !state.is_over() {
            screen.state(&state)?;
        }
    }
    std::future::pending().await
}

/// Measures the round trip now and again. It never ends well.
async fn ping(every: Option<Duration>, screen: &Screen, sender: &Sender) -> Result<(), Failure> {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        match sender.ping().await {
            Ok(rtt) => screen.rtt(rtt)?,
            Err(why) if why.kind() == ErrorKind::Unsupported => {
                screen.warn(&format!("no --ping: {why}"))?;
                return std::future::pending().await;
            }
            // The end of the connection is told by who receives from it.
            Err(_) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_the_bytes_that_they_write() {
        let line = |text: &str, binary| to_send(Packet::text(text), binary);
        let bytes = Packet::binary(&b"\xff\x00"[..]);
        assert_eq!(line("/wA=", Some(Binary::Base64)).unwrap(), bytes);
        assert_eq!(line("ff00", Some(Binary::Hex)).unwrap(), bytes);
        assert_eq!(line("ff00", None).unwrap(), Packet::text("ff00"));
        assert!(line("f", Some(Binary::Hex)).is_err() && line("fg", Some(Binary::Hex)).is_err());
    }
}
