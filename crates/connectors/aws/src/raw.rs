//! The SDK's own types, for crates that call services of AWS: what stands here changes with the SDK.

pub use aws_config::SdkConfig;

pub use crate::failure::{failed, known};
