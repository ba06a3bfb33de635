use haul_core::{CloseReason, ErrorKind, Packet};
use tokio::process::{Child, Command};

use crate::{dial, listen, port, soon};

/// A client in Python: echoes what it gets until it gets `bye`, then closes with 4000.
const PYTHON: &str = r#"
import asyncio, sys, websockets

async def main(url):
    async with websockets.connect(url, max_size=None) as ws:
        async for message in ws:
            if message == "bye":
                await ws.close(4000, "as you say")
                return
            await ws.send(message)

asyncio.run(main(sys.argv[1]))
"#;

/// The same in JavaScript.
const NODE: &str = r#"
const { WebSocket } = require("ws");
const ws = new WebSocket(process.argv[1]);
ws.on("message", (data, binary) => {
  if (!binary && data.toString() === "bye") return ws.close(4000, "as you say");
  ws.send(data, { binary });
});
"#;

/// A server in Python: echoes, and prints its port first.
const PYTHON_SERVER: &str = r#"
import asyncio, websockets

async def echo(ws):
    async for message in ws:
        await ws.send(message)

async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"#;

fn start(command: std::process::Command, args: &[&str]) -> Child {
    Command::from(command).args(args).kill_on_drop(true).spawn().unwrap()
}

fn packets() -> Vec<Packet> {
    let text = ["", "hi", "grüße, 世界"].map(Packet::text);
    let sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000];
    text.into_iter().chain(sizes.map(|size| Packet::binary(vec![7; size]))).collect()
}

async fn serves(client: impl Fn(&str) -> Option<Child>) {
    let listener = listen("ws://127.0.0.1:0").await;
    let Some(mut child) = client(&format!("ws://127.0.0.1:{}/", port(&listener))) else { return };
    let mut server = soon("the client", listener.accept()).await.unwrap().unwrap();
    for packet in packets() {
        server.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the echo", server.recv()).await.unwrap(), Some(packet));
    }
    assert!(soon("the pong", server.ping()).await.is_ok());
    server.send(Packet::text("bye")).await.unwrap();
    let error = soon("the close", server.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("4000") && error.to_string().contains("as you say"), "{error}");
    assert!(soon("the client's end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_python_client_gets_back_what_it_sends_and_its_close_code_is_seen() {
    serves(|url| Some(start(haul_services::python_websockets()?, &["-c", PYTHON, url]))).await;
}

#[tokio::test]
async fn a_node_client_gets_back_what_it_sends_and_its_close_code_is_seen() {
    serves(|url| Some(start(haul_services::npm_ws()?, &["-e", NODE, url]))).await;
}

#[tokio::test]
async fn a_python_server_that_knows_no_haul_is_spoken_to_plainly() {
    let Some(python) = haul_services::python_websockets() else { return };
    let mut command = Command::from(python);
    command.args(["-c", PYTHON_SERVER]).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let port = soon("the port", lines.next_line()).await.unwrap().unwrap();
    let mut client = dial(&format!("ws://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(client.info().framing, "messages");
    for packet in packets() {
        client.send(packet.clone()).await.unwrap();
        assert_eq!(soon("the echo", client.recv()).await.unwrap(), Some(packet));
    }
    soon("the close", client.close(CloseReason::NORMAL)).await.unwrap();
    child.kill().await.unwrap();
}
