//! Things that are broken on purpose, at least one for each promise of the suites: each must be caught, by the check that
//! is there for it. A check that never failed proves nothing.

mod broken_dialers;
mod broken_layers;
mod broken_links;
mod broken_listeners;
mod broken_multiplexes;
mod broken_sinks;
mod broken_sources;
mod broken_streams;
mod door;
mod faulty;
mod proof;
