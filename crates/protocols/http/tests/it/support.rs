//! What the tests share.

use haul_core::{Body, Call, Request, Response, Result, Service, service_fn};
use haul_http::{Client, ClientConfig, Server, serve};
use http::Method;

pub(crate) use haul_kit::soon;

/// A server of ours on a free port, with these options.
pub(crate) async fn listen(options: &str, service: impl Service<Request>) -> Server {
    serve(format!("http://127.0.0.1:0?{options}").parse().unwrap(), service).await.unwrap()
}

/// The URL of a path on a server of ours.
pub(crate) fn url(server: &Server, path: &str) -> String {
    let endpoint = server.local_endpoint();
    format!("{}://{}:{}{path}", endpoint.scheme(), endpoint.host().unwrap(), endpoint.port().unwrap())
}

/// Answers what it is sent, with the method and path in a header.
pub(crate) fn echo() -> impl Service<Request> {
    service_fn(|request: Request| async move {
        let asked = format!("{} {}", request.method(), request.uri().path());
        Ok(Response::builder_with(asked, request.into_body()))
    })
}

trait BuilderWith {
    fn builder_with(asked: String, body: Body) -> Response;
}

impl BuilderWith for Response {
    fn builder_with(asked: String, body: Body) -> Response {
        http::Response::builder().header("asked", asked).body(body).unwrap()
    }
}

pub(crate) fn client(config: ClientConfig) -> Client {
    Client::new(config).unwrap()
}

pub(crate) fn request(method: Method, url: &str, body: impl Into<Body>) -> Request {
    http::Request::builder().method(method).uri(url).body(body.into()).unwrap()
}

pub(crate) fn get(url: &str) -> Request {
    request(Method::GET, url, Body::empty())
}

/// The whole response of a request, with its body as text.
pub(crate) async fn text(client: &Client, request: Request) -> Result<(u16, String)> {
    let response = soon("the response", client.request(request)).await?;
    let status = response.status().as_u16();
    let bytes = soon("the body", response.into_body().bytes(1 << 30)).await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}
