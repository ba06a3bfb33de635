//! The files of the dashboard and of haul.js, as they stand in `web/`.

use std::sync::LazyLock;

use haul_core::{Body, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

/// What a page here may do: run our scripts, and talk to this gateway alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file.
pub(super) struct Page {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
    tag: HeaderValue,
}

static PAGES: LazyLock<[Page; 5]> = LazyLock::new(|| {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    [
        Page::new("/", "text/html; charset=utf-8", include_str!("../../web/index.html")),
        Page::new("/dashboard.css", "text/css; charset=utf-8", include_str!("../../web/dashboard.css")),
        Page::new("/dashboard.js", SCRIPT, include_str!("../../web/dashboard.js")),
        Page::new("/haul.js", SCRIPT, include_str!("../../web/haul.js")),
        Page::new("/haul.d.ts", "text/plain; charset=utf-8", include_str!("../../web/haul.d.ts")),
    ]
});

/// The file at `path`.
pub(super) fn find(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

impl Page {
    fn new(path: &'static str, kind: &'static str, text: &'static str) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        let tag = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let tag = HeaderValue::from_str(&format!("\"{tag}\"")).expect("hex is a header's value");
        Self { path, kind, text, tag }
    }

    /// Answers with the file, or 304 to who has it (RFC 9110 section 13.1.2).
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let mut tags = asked.get_all(IF_NONE_MATCH).into_iter().filter_map(|tags| tags.to_str().ok());
        let known = tags.any(|tags| {
            let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
            tags.any(|tag| tag == "*" || tag.as_bytes() == self.tag.as_bytes())
        });
        let mut answer = Response::new(Body::empty());
        match known {
            true => *answer.status_mut() = StatusCode::NOT_MODIFIED,
            false => *answer.body_mut() = Body::from(self.text),
        }
        let headers = answer.headers_mut();
        headers.insert(ETAG, self.tag.clone());
        for (name, value) in [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}
