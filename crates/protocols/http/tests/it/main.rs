#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(missing_docs, reason = "tests")]

mod cuts;
mod decode;
mod options;
mod redirects;
mod round;
mod serving;
mod support;
