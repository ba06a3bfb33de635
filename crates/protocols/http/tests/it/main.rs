#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(missing_docs, reason = "tests")]

mod cuts;
mod decode;
mod exclusive;
mod options;
mod proxies;
mod redirects;
mod round;
mod serving;
mod sink;
mod strangers;
mod support;
