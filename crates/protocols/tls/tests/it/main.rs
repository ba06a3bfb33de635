//! haul-tls against itself and against the `openssl` program.

#![allow(clippy::unwrap_used, reason = "tests")]

mod authority;
mod failures;
mod openssl;
mod options;
mod roots;
mod sessions;
