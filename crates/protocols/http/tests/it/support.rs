//! What the tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use haul_core::{Body, Call, Error, Request, Response, Result, Service, service_fn};
use haul_http::{Client, ClientConfig, Server, serve};
use http::Method;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use haul_kit::soon;

/// A server of ours on a free port, with these options.
pub(crate) async fn listen(options: &str, service: impl Service<Request>) -> Server {
    serve(format!("http://127.0.0.1:0?{options}").parse().unwrap(), service).await.unwrap()
}

pub(crate) fn port(server: &Server) -> u16 {
    server.local_endpoint().port().unwrap()
}

/// The URL of a path on a server of ours.
pub(crate) fn url(server: &Server, path: &str) -> String {
    format!("{}://127.0.0.1:{}{path}", server.local_endpoint().scheme(), port(server))
}

/// Answers what it is sent, with the method and path in a header.
pub(crate) fn echo() -> impl Service<Request> {
    service_fn(|request: Request| async move {
        let asked = format!("{} {}", request.method(), request.uri().path());
        Ok(http::Response::builder().header("asked", asked).body(request.into_body()).unwrap())
    })
}

/// Answers each request with `text`.
pub(crate) fn says(text: &'static str) -> impl Service<Request> {
    service_fn(move |_| async move { Ok(Response::new(Body::from(text))) })
}

pub(crate) fn client(config: ClientConfig) -> Client {
    Client::new(config).unwrap()
}

pub(crate) fn plain() -> Client {
    client(ClientConfig::default())
}

pub(crate) fn request(method: Method, url: &str, body: impl Into<Body>) -> Request {
    http::Request::builder().method(method).uri(url).body(body.into()).unwrap()
}

pub(crate) fn get(url: &str) -> Request {
    request(Method::GET, url, Body::empty())
}

/// The status of a request's response, and its body as text.
pub(crate) async fn text(client: &Client, request: Request) -> Result<(u16, String)> {
    let response = soon("the response", client.request(request)).await?;
    let status = response.status().as_u16();
    let bytes = soon("the body", response.into_body().bytes(1 << 30)).await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Why a request failed, head or body.
pub(crate) async fn failure(client: &Client, request: Request) -> Error {
    match text(client, request).await {
        Ok(answer) => panic!("it was answered: {answer:?}"),
        Err(why) => why,
    }
}

/// A server that knows no HTTP: what it does with each connection is up to the test.
pub(crate) struct Bad {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Bad {
    pub(crate) async fn new<F, Fut>(serve: F) -> Self
    where
        F: Fn(BufReader<TcpStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Relaxed);
                tokio::spawn(serve(BufReader::new(stream)));
            }
        });
        Self { port, connections, task }
    }

    /// Reads a request, says `answer`, and waits until the client goes.
    pub(crate) async fn says(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Vec<u8> = answer.into();
        Self::new(move |mut stream| {
            let answer = answer.clone();
            async move {
                head(&mut stream).await;
                // The client may go before it has read all.
                let _ = stream.write_all(&answer).await;
                rest(&mut stream).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a request, or what came of it.
pub(crate) async fn head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

/// Reads until the peer goes.
pub(crate) async fn rest(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: BufReader<TcpStream>) {
    haul_tcp::socket::reset_on_drop(stream.get_ref());
}
