//! Links: what goes each way, and what they can do.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use haul_core::wire::{Framing, StreamEncoder};
use haul_core::{Info, Link};
use haul_http::Peer;

use crate::client::{EventRead, Events, HaulRead, NoWay, NoWrite, Upload};
use crate::options::{DialConfig, ListenConfig};
use crate::server::{Posts, Session, Written};

/// How events of strangers stand in `Info`.
const EVENTS: &str = "events";

/// Who the peer is, and what TLS agreed on with it.
pub(crate) fn describe(info: &mut Info, peer: &Peer) {
    (info.local, info.peer) = (peer.local.to_string(), peer.address.to_string());
    if let Some(tls) = &peer.tls {
        // What the handshake agreed on is plain data: it always has a form in JSON.
        info.facts.set("tls", serde_json::to_string(&**tls).unwrap_or_default());
    }
}

/// To a haul peer: frames both ways.
pub(crate) fn dialed(mut info: Info, config: DialConfig, events: Events, patience: Duration) -> Link {
    Framing::Haul.describe(&mut info);
    let (state, request) = (events.state(), events.request().clone());
    let closed = Arc::new(AtomicBool::new(false));
    let read = HaulRead::new(events, config.limits.max_packet, closed.clone());
    Link::new(info, read, Upload::new(request, patience, closed))
        .with_encoder(StreamEncoder::new(Framing::Haul))
        .with_limits(config.limits)
        .with_state(state)
}

/// From any other server: events.
pub(crate) fn receiving(mut info: Info, config: DialConfig, events: Events) -> Link {
    info.framing = EVENTS;
    info.close_frames = false;
    let state = events.state();
    let read = EventRead::new(events, config.events, config.limits.max_packet);
    Link::new(info, read, NoWrite).with_encoder(NoWay).with_limits(config.limits).with_state(state)
}

/// To a client: frames both ways, or events and what it POSTs.
pub(crate) fn accepted(mut info: Info, config: &ListenConfig, session: Arc<Session>, posts: Posts) -> Link {
    let limits = config.limits.clone();
    let write = Written::new(session.clone());
    let link = if session.haul() {
        Framing::Haul.describe(&mut info);
        Link::new(info, posts, write).with_encoder(StreamEncoder::new(Framing::Haul))
    } else {
        info.framing = EVENTS;
        info.close_frames = false;
        Link::new(info, posts, write).with_encoder(crate::server::EventEncoder)
    };
    link.with_limits(limits)
}
