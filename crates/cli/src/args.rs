//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use haul::{PacketId, parse_bytes, parse_duration};

use crate::layers::Layers;
use crate::{commands, exit};

/// Move packets over WebSocket, WebTransport, QUIC, SSE, HTTP and TCP: run a gateway; pipe, connect, listen, send, probe
/// and measure any endpoint.
#[derive(Debug, Parser)]
#[command(name = "haul", version, arg_required_else_help = true, after_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print one JSON object per line on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Tell more on stderr: -v info, -vv debug, -vvv trace; HAUL_LOG takes a filter instead
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Tell nothing but errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On terminals, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(commands::serve::Args),
    Validate(commands::validate::Args),
    Tap(commands::tap::Args),
    Log(commands::log::Args),
    Outbox(commands::outbox::Args),
    Pipe(Pipe),
    Connect(Connect),
    Listen(Listen),
    Send(Send),
    Probe(Probe),
    Bench(Bench),
    Completions(Completions),
    Man(Man),
    #[command(hide = true)]
    Docs(Docs),
}

/// Carry packets from one end to another
///
/// An end is a URL, a file, or - for stdin and stdout. What is read is acknowledged only after the other end accepted
/// it. It ends when the input does; ctrl-c stops reading and delivers what was read.
#[derive(Args, Debug)]
pub(crate) struct Pipe {
    /// Where to read: a URL, a file, or - for stdin
    pub(crate) from: String,
    /// Where to deliver: a URL, a file (replaced), or - for stdout
    pub(crate) to: String,
    /// How packets are told apart in files, stdin and stdout [default: raw between two of these, else lines]
    #[arg(long)]
    pub(crate) framing: Option<PipeFraming>,
    /// Largest packet read from a file or stdin
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "16MiB")]
    pub(crate) max_packet: usize,
    /// Tries for what fails and may be sent again
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PipeFraming {
    /// A packet is a line; a last line without line feed is given one
    Lines,
    /// A packet is its length (4 bytes, big-endian) and its bytes
    Length,
    /// haul's own frames: text or binary, ids and metadata are kept
    #[value(name = "haul.v1")]
    Haul,
    /// All of the input is one packet
    Whole,
    /// Bytes as they come, in pieces of any size
    Raw,
}

/// Talk to an endpoint: lines typed are sent, packets received are printed
#[derive(Args, Debug)]
pub(crate) struct Connect {
    /// The endpoint: wss://host/path, quic://host:9000, tcp://host:9000?framing=lines
    pub(crate) url: String,
    /// Measure the round trip this often
    #[arg(long, value_name = "EVERY", value_parser = parse_duration)]
    pub(crate) ping: Option<Duration>,
    /// Send lines as binary packets written like this, and print binary packets so
    #[arg(long, value_name = "CODE")]
    pub(crate) binary: Option<Binary>,
    /// After the end of input, wait this long for more [default: until the peer ends]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Binary {
    Base64,
    Hex,
}

/// Accept connections and print what comes
///
/// The first lines name the addresses, with the port that was given where port 0 was asked for. Packets are acknowledged
/// when they are printed. Ctrl-c closes all connections and ends it.
#[derive(Args, Debug)]
pub(crate) struct Listen {
    /// Where to listen: ws://127.0.0.1:0, tcp://0.0.0.0:9000?framing=lines; several at once
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// Send each packet back to who sent it
    #[arg(long, conflicts_with = "broadcast")]
    pub(crate) echo: bool,
    /// Send each packet to all others
    #[arg(long)]
    pub(crate) broadcast: bool,
    /// Refuse more connections than this at once
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,
    /// Speak sessions, for clients with --session; a session may come back over any of the URLs
    #[arg(long)]
    pub(crate) session: bool,
    /// Print binary packets like this
    #[arg(long, value_name = "CODE")]
    pub(crate) binary: Option<Binary>,
}

/// Send packets and wait until it is known how far they came
///
/// Prints the level that was reached: sent (the operating system has it), acknowledged (the receiver said so), stored
/// (it is on disk or committed there), discarded.
#[derive(Args, Debug)]
pub(crate) struct Send {
    /// Where to deliver
    pub(crate) url: String,
    /// What to send, a packet each; - is all of stdin, which is also the default
    #[arg(value_name = "MESSAGE")]
    pub(crate) messages: Vec<String>,
    /// A file to send as one packet
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// What the messages are
    #[arg(long = "type", value_name = "TYPE", default_value = "auto")]
    pub(crate) kind: MessageType,
    /// Metadata to send along
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_meta)]
    pub(crate) meta: Vec<(String, String)>,
    /// Give each packet a new id, or the only packet this one, so that it may be sent again
    #[arg(long, value_name = "UUID", num_args = 0..=1, require_equals = true)]
    pub(crate) id: Option<Option<PacketId>>,
    /// Fail unless this level is reached [default when given without a level: acknowledged]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "acknowledged")]
    pub(crate) receipt: Option<ReceiptLevel>,
    /// How long connecting and delivering may take, each
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageType {
    /// Text if it is UTF-8, else binary
    Auto,
    Text,
    /// Text that must be valid JSON
    Json,
    Binary,
    /// Binary, written in base64
    Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReceiptLevel {
    Sent,
    Acknowledged,
    Stored,
}

/// Find out which protocols answer, how fast, and why the others do not
///
/// Of https://host or http://host every realtime protocol is tried at that place, and plain HTTP; first they race as
/// connect --adaptive lets them, and the winner is named. A certificate of your own is trusted with
/// https://host#ca=FILE or #pin=SHA256.
#[derive(Args, Debug)]
pub(crate) struct Probe {
    /// https://host to try every realtime protocol there, host:port to try everything, or the URL of one protocol
    pub(crate) url: String,
    /// How many round trips to measure
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) pings: u32,
    /// How long connecting, and each round trip, may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    pub(crate) timeout: Duration,
}

/// Measure the rate and latency of an endpoint
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The endpoint; haul listen URL --echo -q is one to measure
    pub(crate) url: String,
    /// echo waits for each packet to come back, one-way only sends
    #[arg(long, default_value = "echo")]
    pub(crate) mode: BenchMode,
    /// Connections at once
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Packets under way on each connection (echo)
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
    /// Bytes in each packet
    #[arg(short, long, value_name = "SIZE", value_parser = parse_bytes, default_value = "64")]
    pub(crate) size: usize,
    /// How long to send
    #[arg(short, long, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchMode {
    Echo,
    OneWay,
}

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the man page
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write a page for haul and each command into this folder instead
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// Print the reference of the command line
#[derive(Args, Debug)]
pub(crate) struct Docs {
    pub(crate) format: DocsFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DocsFormat {
    Markdown,
}

fn parse_meta(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it looks like name=value".to_owned()),
    }
}

fn after_help() -> String {
    let codes = exit::TABLE.map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    format!("Exit codes:\n{}", codes.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
