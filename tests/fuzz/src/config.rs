//! `haul.toml` and the variables over it: any text is a configuration or an error that names the file.

use haul::config::{Config, Environment, Profile};
use haul_core::ErrorKind;

/// The file, a zero byte, and variables with zero bytes between them.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let environment: Environment = parts.filter_map(|part| part.split_once('=')).collect();
    for profile in Profile::ALL.map(Some).into_iter().chain([None]) {
        let read = || Config::parse(file, "haul.toml", profile, &environment);
        match read() {
            Ok(config) => assert_eq!(read().ok(), Some(config)),
            Err(why) => {
                assert_eq!(why.kind(), ErrorKind::Config, "{why}");
                let named = ["haul.toml", "HAUL_"].iter().any(|name| why.to_string().contains(name));
                assert!(named, "it does not say where: {why}");
            }
        }
    }
}
