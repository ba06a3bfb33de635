//! Memory over many requests, in a process of its own: other tests would be measured too.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use haul_core::{Body, Request, Response, service_fn};
use haul_http::{Client, ClientConfig, Version, serve};

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let fields = std::fs::read_to_string("/proc/self/statm").unwrap();
    fields.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn ten_thousand_requests_over_kept_connections_leave_nothing_behind() {
    let service = service_fn(|request: Request| async move {
        let body = request.into_body().bytes(1 << 20).await?;
        Ok(Response::new(Body::from(body)))
    });
    let server = serve("http://127.0.0.1:0".parse().unwrap(), service).await.unwrap();
    let url = format!("http://127.0.0.1:{}/", server.local_endpoint().port().unwrap());
    for (connections, version, requests) in [(1, Version::Http1, 10_000), (2, Version::Http2, 3_000)] {
        let client = Client::new(ClientConfig { version, ..ClientConfig::default() }).unwrap();
        let mut after_warm_up = 0;
        for number in 0..requests {
            let request = http::Request::post(&url).body(Body::from("a".repeat(1000))).unwrap();
            let response = client.fetch(request).await.unwrap();
            assert_eq!(response.body().len(), 1000);
            if number == requests / 5 {
                after_warm_up = resident();
            }
        }
        let grown = resident().saturating_sub(after_warm_up);
        assert!(grown < 1 << 20, "{grown} bytes more after four fifths of {requests} requests");
        assert_eq!(server.stats().accepted, connections);
    }
}
