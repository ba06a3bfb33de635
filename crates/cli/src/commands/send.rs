//! `haul send`: packets, and how far each came.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

use base64::Engine;
use haul::{AnySink, Deliver, Endpoint, Error, Level, Packet, PacketId, Receipt, Sink};
use serde_json::json;

use crate::args::{MessageType, ReceiptLevel, Send};
use crate::ends::End;
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, count, time};

pub(crate) async fn run(args: Send, out: Output) -> Result<(), Failure> {
    let packets = packets(&args)?;
    let endpoint = Endpoint::parse(&args.url)?;
    let to = End::parse(&args.url);
    args.layers.refuse_unless(to.is_dialed(), "send")?;
    let sink = match to.is_dialed() {
        true => args.layers.connect(&args.url).sink().await?,
        false => haul::deliver(&args.url).await?,
    };
    let ready = crate::within(args.timeout, format!("connect to {endpoint}"), sink.ready());
    ready.await.map_err(|late| late.with_code(Code::Connect))?.map_err(Failure::connecting)?;

    let total = packets.len() as u64;
    let mut undelivered = 0;
    let mut first = None;
    for packet in packets {
        let (bytes, start) = (packet.len(), Instant::now());
        let delivered = deliver(&sink, packet, &args, &endpoint).await;
        let short = |receipt: &Receipt| args.receipt.is_some_and(|wanted| receipt.level < level(wanted));
        match delivered {
            Ok(receipt) => {
                print(&receipt, bytes, start, out)?;
                if short(&receipt) {
                    undelivered += 1;
                    first.get_or_insert_with(|| too_low(&receipt, &args));
                }
            }
            Err(failure) => {
                undelivered += 1;
                first.get_or_insert(failure);
            }
        }
    }
    let closed = crate::within(args.timeout, format!("close {endpoint}"), sink.close()).await;
    match first {
        Some(mut why) => {
            if total > 1 {
                why.message =
                    format!("{undelivered} of {} not delivered: {}", count(total, "packet"), why.message);
            }
            Err(why)
        }
        None => Ok(closed?.map_err(|why| Failure::from(why).with_code(Code::NotDelivered))?),
    }
}

async fn deliver(
    sink: &AnySink,
    packet: Packet,
    args: &Send,
    endpoint: &Endpoint,
) -> Result<Receipt, Failure> {
    let delivery = crate::within(args.timeout, format!("deliver to {endpoint}"), sink.deliver(packet));
    delivery.await?.map_err(|why: Error| Failure::from(why).with_code(Code::NotDelivered))
}

fn print(receipt: &Receipt, bytes: usize, start: Instant, out: Output) -> Result<(), Failure> {
    let took = start.elapsed();
    if out.json {
        return out.object(&json!({
            "event": "delivered",
            "level": receipt.level.as_str(),
            "bytes": bytes,
            "id": receipt.id.map(|id| id.to_string()),
            "reference": receipt.reference,
            "micros": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }));
    }
    let reference = receipt.reference.as_ref().map(|at| format!(" as {at}")).unwrap_or_default();
    let level = out.paint(Paint::Good, receipt.level.as_str());
    out.line(&format!("{level}{reference}, {} in {}", count(bytes as u64, "byte"), time(took)))
}

fn too_low(receipt: &Receipt, args: &Send) -> Failure {
    let wanted = args.receipt.map(level).unwrap_or(Level::Sent).as_str();
    let reached = receipt.level.as_str();
    let message = format!("send: the packet is {reached}, not {wanted}: this receiver promises no more");
    Failure::new(Code::NotDelivered, message)
        .with_hint("use a haul receiver (framing or subprotocol haul.v1), or no --receipt")
}

fn level(wanted: ReceiptLevel) -> Level {
    match wanted {
        ReceiptLevel::Sent => Level::Sent,
        ReceiptLevel::Acknowledged => Level::Acknowledged,
        ReceiptLevel::Stored => Level::Stored,
    }
}

/// What to send: the messages in order, then the files.
fn packets(args: &Send) -> Result<Vec<Packet>, Failure> {
    let mut payloads = Vec::new();
    for message in &args.messages {
        payloads.push(match message.as_str() {
            "-" => stdin()?,
            text => text.as_bytes().to_vec(),
        });
    }
    for path in &args.file {
        payloads.push(read(path)?);
    }
    if payloads.is_empty() {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage("send: there is nothing to send")
                .with_hint("give one: haul send URL MESSAGE, or --file FILE"));
        }
        payloads.push(stdin()?);
    }
    if payloads.len() > 1 && matches!(args.id, Some(Some(_))) {
        return Err(Failure::usage(
            "send: one --id for many packets would make them duplicates of each other",
        )
        .with_hint("use --id without a value, which gives each its own"));
    }
    payloads.into_iter().map(|payload| packet(payload, args)).collect()
}

fn packet(payload: Vec<u8>, args: &Send) -> Result<Packet, Failure> {
    let mut packet = match args.kind {
        MessageType::Auto => match String::from_utf8(payload) {
            Ok(text) => Packet::text(text),
            Err(bytes) => Packet::binary(bytes.into_bytes()),
        },
        MessageType::Text => Packet::text_from_utf8(payload)?,
        MessageType::Binary => Packet::binary(payload),
        MessageType::Json => {
            serde_json::from_slice::<serde::de::IgnoredAny>(&payload)
                .map_err(|why| Failure::usage(format!("send: the message is not JSON: {why}")))?;
            Packet::text_from_utf8(payload)?
        }
        MessageType::Base64 => {
            let text = payload.trim_ascii();
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            Packet::binary(
                bytes.map_err(|why| Failure::usage(format!("send: the message is not base64: {why}")))?,
            )
        }
    };
    for (name, value) in &args.meta {
        packet = packet.with(name.clone(), value.clone());
    }
    Ok(match args.id {
        None => packet,
        Some(None) => packet.with_id(PacketId::random()),
        Some(Some(id)) => packet.with_id(id),
    })
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    std::io::stdin().lock().read_to_end(&mut all)?;
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|why| Error::from(why).while_doing(format!("read {}", path.display())).into())
}
