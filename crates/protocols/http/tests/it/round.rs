use haul_http::{ClientConfig, Version};
use http::Method;

use crate::support::{client, echo, listen, request, text, url};

#[tokio::test]
async fn what_is_sent_comes_back_over_both_versions() {
    let server = listen("", echo()).await;
    for version in [Version::Http1, Version::Http2] {
        let client = client(ClientConfig { version, ..ClientConfig::default() });
        let sent = "x".repeat(1 << 20);
        let posted = request(Method::POST, &url(&server, "/a"), sent.clone());
        let (status, body) = text(&client, posted).await.unwrap();
        assert_eq!((status, body.len()), (200, sent.len()));
        assert!(body == sent);
    }
}
