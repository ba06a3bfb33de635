//! Failures in words: what was wrong, and what to do.

use std::io;
use std::time::{Duration, SystemTime};

use haul_core::{Error, ErrorKind, Sent, Status};
use rustls::{AlertDescription as Alert, CertificateError, InvalidMessage, PeerIncompatible};

use crate::CertificateInfo;
use crate::certificate::rfc3339;
use crate::verify::OtherThanPinned;

/// Which end we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Why a handshake failed. Nothing of the application was sent.
pub(crate) fn handshake(why: io::Error, side: Side, refused: Option<&CertificateInfo>) -> Error {
    let error = match why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => explain(tls, side, refused),
        None if why.kind() == io::ErrorKind::UnexpectedEof => transient(
            "the peer closed during the TLS handshake: it may not speak TLS on this port, or be shutting down".into(),
        ),
        None => transient(format!("the connection failed during the TLS handshake: {why}")),
    };
    error.with_sent(Sent::No)
}

/// A TLS failure of an established connection, as haul's error within the `io::Error`; others are left alone.
///
/// With TLS 1.3 a client learns only here that the server refused its certificate (RFC 8446 section 4.6.2).
pub(crate) fn established(why: io::Error, side: Side) -> io::Error {
    match why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => io::Error::new(why.kind(), explain(tls, side, None).with_sent(Sent::Maybe)),
        None => why,
    }
}

fn permanent(message: String) -> Error {
    Error::new(ErrorKind::Tls, message)
}

fn transient(message: String) -> Error {
    permanent(message).with_status(Status::Transient)
}

fn explain(why: &rustls::Error, side: Side, refused: Option<&CertificateInfo>) -> Error {
    use rustls::Error as Tls;
    match why {
        Tls::InvalidCertificate(why) => permanent(certificate(why, side, refused)),
        Tls::NoCertificatesPresented => permanent("the client sent no certificate, and one is required".into()),
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => permanent(
            "the peer does not speak TLS on this port: its first bytes are not a TLS record; use the plain scheme \
             (ws, tcp) or the TLS port"
                .into(),
        ),
        Tls::NoApplicationProtocol => permanent(match side {
            Side::Server => "the client offers no ALPN protocol that this server has".into(),
            Side::Client => "the server chose no ALPN protocol that was offered".into(),
        }),
        Tls::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => permanent(format!("no TLS version in common: this end speaks 1.2 and 1.3 ({why})")),
        Tls::AlertReceived(alert) => refusal(*alert, side),
        other => permanent(format!("the TLS session failed: {other}")),
    }
}

/// What the peer's alert (RFC 8446 section 6.2) means for us.
fn refusal(alert: Alert, side: Side) -> Error {
    let peers_view = "the peer refused this end's certificate";
    permanent(match (alert, side) {
        (Alert::CertificateRequired, _) => {
            "the peer requires a client certificate: set `cert=` and `key=`".into()
        }
        (Alert::HandshakeFailure, Side::Client) => {
            "the peer refused the handshake (handshake_failure): it requires \
             a client certificate (set `cert=` and `key=`), or no TLS version or cipher is in common"
                .into()
        }
        (Alert::HandshakeFailure, Side::Server) => {
            "the peer refused the handshake (handshake_failure): no TLS version or cipher in common".into()
        }
        (Alert::UnknownCA, _) => {
            format!("{peers_view} (unknown_ca): its issuer is not among those the peer trusts")
        }
        (Alert::CertificateExpired, _) => format!("{peers_view} (certificate_expired): renew it"),
        (Alert::BadCertificate, Side::Server) => {
            format!("{peers_view} (bad_certificate): often it lacks the name that the client dialed")
        }
        (
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::AccessDenied,
            _,
        ) => format!("{peers_view} ({alert:?})"),
        (Alert::DecryptError, _) => {
            "the peer could not verify a signature of this end's (decrypt_error): often the \
             certificate was signed by another CA of the same name as the one it trusts"
                .into()
        }
        (Alert::UnrecognisedName, _) => "the peer serves no such name: set `sni=` to one it has".into(),
        (Alert::NoApplicationProtocol, _) => {
            "the peer has none of the ALPN protocols offered: set `alpn=` to one it speaks".into()
        }
        (Alert::ProtocolVersion, _) => "no TLS version in common: this end speaks 1.2 and 1.3".into(),
        (Alert::InternalError | Alert::UserCanceled, _) => {
            return transient(format!("the peer ended the TLS session: {alert:?}"));
        }
        (other, _) => format!("the peer ended the TLS session: {other:?}"),
    })
}

/// Why the peer's certificate was refused, with what it says about itself.
fn certificate(why: &CertificateError, side: Side, refused: Option<&CertificateInfo>) -> String {
    let whose = match side {
        Side::Client => "certificate",
        Side::Server => "client certificate",
    };
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let dialed = match why {
                CertificateError::NotValidForNameContext { expected, .. } => {
                    format!(" {}", expected.to_str())
                }
                _ => String::new(),
            };
            let names = match refused.map(|info| info.names.join(", ")) {
                Some(names) if !names.is_empty() => format!("it is for {names}"),
                _ => "it carries no name".to_owned(),
            };
            format!("{whose} is not valid for{dialed}: {names}; dial one of its names, or set `sni=`")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => match refused {
            Some(info) if info.not_after <= SystemTime::now() => {
                format!("{whose} expired {}: renew it at the peer", moment(info.not_after))
            }
            _ => format!("{whose}: one of its chain is expired: renew it at the peer"),
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => match refused {
            Some(info) if info.not_before > SystemTime::now() => {
                let when = moment(info.not_before);
                format!("{whose} is not valid before {when}: check this machine's clock")
            }
            _ => format!("{whose}: one of its chain is not valid yet: check this machine's clock"),
        },
        CertificateError::UnknownIssuer => match side {
            Side::Client => format!(
                "{whose} from an unknown issuer{}: add the CA with `ca=`{}",
                refused.map(|info| format!(" ({})", info.issuer)).unwrap_or_default(),
                or_pin(refused),
            ),
            Side::Server => format!(
                "{whose} from an unknown issuer{}: it is not signed by `client_ca`",
                refused.map(|info| format!(" ({})", info.issuer)).unwrap_or_default()
            ),
        },
        CertificateError::BadSignature if refused.is_some() => format!(
            "{whose} names a trusted CA but was signed by another key: the CA was replaced, or this is not the peer"
        ),
        CertificateError::Other(other) if other.0.is::<OtherThanPinned>() => {
            let has = refused.map(|info| format!("; it has {}", info.sha256)).unwrap_or_default();
            format!("{whose} is not the pinned one{has}: if the peer renewed it, pin the new one with `pin=`")
        }
        CertificateError::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity") => format!(
            "{whose} is that of a CA, used by the peer as its own: let it use one that the CA signed{}",
            or_pin(refused),
        ),
        other => format!("{whose} refused: {other}"),
    }
}

fn or_pin(refused: Option<&CertificateInfo>) -> String {
    match refused {
        Some(info) => format!(", or, if you know it to be the peer's, pin it with `pin={}`", info.sha256),
        None => ", or pin it with `pin=`".to_owned(),
    }
}

/// `3 days ago (2026-11-18T08:00:00Z)`; the distance to now in the largest unit that fits.
fn moment(time: SystemTime) -> String {
    let now = SystemTime::now();
    let stamp = rfc3339(time);
    match now.duration_since(time) {
        Ok(past) => format!("{} ago ({stamp})", span(past)),
        Err(ahead) => format!("{stamp}, {} from now", span(ahead.duration())),
    }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        120.. => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_worth_another_try_and_sent_nothing() {
        let lost = handshake(io::ErrorKind::ConnectionReset.into(), Side::Client, None);
        assert_eq!((lost.kind(), lost.status(), lost.sent()), (ErrorKind::Tls, Status::Transient, Sent::No));
    }

    #[test]
    fn spans_are_told_in_the_largest_unit_that_fits() {
        let told: Vec<_> = [5, 600, 10_000, 260_000].map(|s| span(Duration::from_secs(s))).into();
        assert_eq!(told, ["5 seconds", "10 minutes", "2 hours", "3 days"]);
    }
}
