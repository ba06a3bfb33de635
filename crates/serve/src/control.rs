//! The socket in the data folder: taps, status and small commands.
//!
//! A client connects with haul.v1 framing and sends one text packet: `{"do":"tap","session":"7","filter":{"type":"x"}}`
//! (session and filter may be left out), `{"do":"status"}` or `{"do":"forget","route":"old"}`. A tap is answered with every
//! packet that is stored from then on, with `haul.seq`, `haul.session`, `haul.at`, `haul.protocol` and `haul.peer` in its
//! metadata; a packet with `haul.gap` alone says how many were lost there because the client was slow. With
//! `"route":"NAME"` it is every packet that is given to a receiver of the route, once that has answered: with `haul.route`,
//! `haul.receiver`, `haul.session`, `haul.at`, and in `haul.outcome` the level of its receipt, with its `haul.reference`, or
//! the kind of the failure, with `haul.error`, or `abandoned` where the answer was not waited for; if there is no such route, the only answer says so in `haul.refused`. A status
//! is one JSON text; so is the answer to forget, `{"forgot":"old"}` or `{"refused":"why","kind":"not_found"}`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{CloseReason, Connection, Endpoint, Error, ErrorKind, Packet, Registry, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::accept::{Accepting, told};
use crate::gateway::Shared;
use crate::listen::ListenUrl;
use crate::tap::Wish;

/// The socket's name in the data folder.
const SOCKET: &str = "tap.sock";

/// Longest path of a Unix socket in bytes: what Linux and macOS both take.
const MAX_PATH: usize = 103;

/// What stands in a path as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Tap(Wish),
    Status,
    Forget { route: String },
}

/// Where the gateway that has the data folder `data` is tapped.
///
/// Errors: `NotFound` if there is no such folder; `Unsupported` if its path is too long for a socket or not UTF-8.
pub fn tap_endpoint(data: &Path) -> Result<Endpoint> {
    let failed =
        |why: Error| why.while_doing(format!("find the socket of the gateway on {}", data.display()));
    let path = data.canonicalize().map_err(|why| failed(why.into()))?.join(SOCKET);
    let text = path.to_str().filter(|text| text.len() <= MAX_PATH).ok_or_else(|| {
        let message = format!("{} is too long or not UTF-8; choose a shorter data folder", path.display());
        failed(Error::new(ErrorKind::Unsupported, message))
    })?;
    Endpoint::parse(&format!("unix://{}", utf8_percent_encode(text, PATH)))
}

pub(crate) async fn listen(data: &Path, registry: &Registry, shared: &Arc<Shared>) -> Result<Accepting> {
    let endpoint = tap_endpoint(data)?;
    let listener = registry.listen(endpoint.clone()).await?;
    restrict(Path::new(endpoint.path()))?;
    let url = Arc::new(ListenUrl::parse(endpoint.as_str(), &[])?);
    let shared = shared.clone();
    Ok(Accepting::with(url, Arc::new(listener.into()), move |connection, stop| {
        serve(connection, shared.clone(), stop)
    }))
}

/// What flows is for the owner of the log alone.
fn restrict(socket: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(socket, owner)
            .map_err(|why| Error::from(why).while_doing(format!("restrict {}", socket.display())))?;
    }
    Ok(())
}

async fn serve(mut connection: Connection, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let reason = tokio::select! {
        () = told(&mut stop) => CloseReason::GOING_AWAY,
        done = converse(&mut connection, &shared) => match done {
            Ok(()) => CloseReason::NORMAL,
            Err(why) => CloseReason::new(CloseReason::POLICY.code, why.to_string()),
        },
    };
    if let Err(why) = connection.close(reason).await {
        tracing::debug!("a tap ended: {why}");
    }
}

async fn converse(connection: &mut Connection, shared: &Shared) -> Result<()> {
    let asked = timeout(PATIENCE, connection.recv())
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, format!("no request within {PATIENCE:?}")))??;
    let Some(request) = asked else { return Ok(()) };
    match request.parse_json()? {
        Request::Status => connection.send(Packet::json(&shared.status())?).await,
        Request::Forget { route } => {
            let answer = match shared.log.forget(&route).await {
                Ok(()) => json!({ "forgot": route }),
                Err(why) => json!({ "refused": why.to_string(), "kind": why.kind().as_str() }),
            };
            connection.send(Packet::json(&answer)?).await
        }
        Request::Tap(wish) => {
            if let Some(why) = unknown(wish.route.as_deref(), &shared.routes()) {
                return connection.send(Packet::text_static("").with("haul.refused", why)).await;
            }
            let mut watching = shared.taps.open(wish);
            // The first answer says that the tap is open.
            connection.send(Packet::text_static("").with("haul.tap", "open")).await?;
            loop {
                tokio::select! {
                    ended = connection.recv() => match ended {
                        Ok(Some(_)) => {}
                        // It has seen enough, or is gone.
                        Ok(None) | Err(_) => return Ok(()),
                    },
                    (gap, packet) = watching.next() => {
                        for packet in gap.into_iter().chain(packet) {
                            connection.send(packet).await?;
                        }
                    }
                }
            }
        }
    }
}

/// Why `route` cannot be watched, if it cannot.
fn unknown(route: Option<&str>, routes: &[String]) -> Option<String> {
    let route = route.filter(|route| !routes.iter().any(|known| known == route))?;
    let known = if routes.is_empty() { "there are none".to_owned() } else { routes.join(", ") };
    Some(format!("there is no route {route}; the routes: {known}"))
}
