//! The client's errors in haul's words.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use haul_core::{Error, ErrorKind, Sent, Status};

/// What went wrong with a request; `known` says what a service's codes mean, most of all by [`known`].
pub fn failed<E>(why: SdkError<E, HttpResponse>, known: impl Fn(&str) -> Option<(ErrorKind, Status)>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let error = |kind, sent| Error::new(kind, chain(&why)).with_sent(sent);
    match &why {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let said = answer.err().message().unwrap_or("it does not say why");
            let text = format!("the server answered {status} {code}: {said}");
            match known(code) {
                Some((kind, status)) => Error::new(kind, text).with_status(status).with_sent(Sent::No),
                None if status >= 500 => Error::new(ErrorKind::Overloaded, text).with_sent(Sent::Maybe),
                None if matches!(status, 401 | 403) => {
                    Error::new(ErrorKind::Unauthorized, text).with_sent(Sent::No)
                }
                None if status == 429 => Error::new(ErrorKind::RateLimited, text).with_sent(Sent::No),
                None if status >= 400 => Error::new(ErrorKind::Rejected, text).with_sent(Sent::No),
                None => error(ErrorKind::Protocol, Sent::Maybe).with_status(Status::Transient),
            }
        }
        SdkError::ConstructionFailure(_) => error(ErrorKind::Config, Sent::No),
        SdkError::TimeoutError(_) => error(ErrorKind::Timeout, Sent::Maybe),
        SdkError::DispatchFailure(_) => undispatched(&why, chain(&why)),
        _ => error(ErrorKind::Protocol, Sent::Maybe).with_status(Status::Transient),
    }
}

/// Why there was no answer: no credentials, no connection, or one that was lost.
fn undispatched(why: &(dyn StdError + 'static), said: String) -> Error {
    if let Some(credentials) = find::<CredentialsError>(why) {
        use CredentialsError as Why;
        let status = match credentials {
            Why::ProviderTimedOut(_) | Why::ProviderError(_) => Status::Transient,
            _ => Status::Permanent,
        };
        return Error::new(ErrorKind::Unauthorized, said).with_status(status).with_sent(Sent::No);
    }
    let connecting = find::<hyper_util::client::legacy::Error>(why).is_some_and(|why| why.is_connect());
    if !connecting {
        return Error::new(ErrorKind::Closed, said).with_status(Status::Transient).with_sent(Sent::Maybe);
    }
    let tls = find::<rustls::Error>(why).is_some();
    let kind = if tls { ErrorKind::Tls } else { ErrorKind::Connect };
    Error::new(kind, said).with_sent(Sent::No)
}

/// The codes of all services that say more than their status does ("Common errors" of the API references).
pub fn known(code: &str) -> Option<(ErrorKind, Status)> {
    Some(match code {
        "Throttling" | "ThrottlingException" => (ErrorKind::RateLimited, Status::Transient),
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => (ErrorKind::Unauthorized, Status::Permanent),
        _ => return None,
    })
}

/// All that an error and those beneath it say.
fn chain(why: &(dyn StdError + 'static)) -> String {
    let mut said = why.to_string();
    let mut next = beneath(why);
    while let Some(why) = next {
        let more = why.to_string();
        if !said.ends_with(&more) {
            said = format!("{said}: {more}");
        }
        next = beneath(why);
    }
    said
}

/// The first error of type `T` at or beneath `why`.
fn find<'a, T: StdError + 'static>(why: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    match why.downcast_ref() {
        Some(found) => Some(found),
        None => find(beneath(why)?),
    }
}

/// The error beneath. One of input or output keeps what it was made of to itself.
fn beneath<'a>(why: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match why.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inside) => Some(inside),
        None => why.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Lost(std::io::Error);

    impl std::fmt::Display for Lost {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("dispatch failure")
        }
    }

    impl StdError for Lost {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn all_that_lies_beneath_is_said_once_and_found() {
        let credentials = CredentialsError::provider_timed_out(std::time::Duration::from_secs(1));
        let said = credentials.to_string();
        let why = Lost(std::io::Error::other(credentials));
        let text = chain(&why);
        assert!(text.starts_with("dispatch failure: ") && text.matches(&said).count() == 1, "{text}");
        assert!(find::<CredentialsError>(&why).is_some());
        let answered = undispatched(&why, text);
        let facts = (answered.kind(), answered.status(), answered.sent());
        assert_eq!(facts, (ErrorKind::Unauthorized, Status::Transient, Sent::No), "{answered}");
    }

    #[test]
    fn a_connection_that_was_lost_may_have_carried_the_request() {
        let why = Lost(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let answered = undispatched(&why, chain(&why));
        let facts = (answered.kind(), answered.status(), answered.sent());
        assert_eq!(facts, (ErrorKind::Closed, Status::Transient, Sent::Maybe), "{answered}");
    }

    #[test]
    fn refused_credentials_are_refused_for_good_and_throttles_pass() {
        assert_eq!(known("ExpiredTokenException"), Some((ErrorKind::Unauthorized, Status::Permanent)));
        assert_eq!(known("ThrottlingException"), Some((ErrorKind::RateLimited, Status::Transient)));
        assert_eq!(known("ValidationException"), None);
    }
}
